#!/bin/sh
# The main job, end to end: train on real images, verify, build the page. Called by `make demo`.
set -eu
: "${BIN:=.venv/bin}" "${RUNS:=runs}" "${SITE:=build/site}"

step() { printf '\n== %s\n' "$*"; }

step "train mgnet_2_2_c32_bl on scikit-learn's digits, tracked by MLflow"
"$BIN/mgnet-train" fit mgnet_2_2_c32_bl --data digits --runs "$RUNS"
run=$(ls -td "$RUNS"/mgnet_2_2_c32_bl-digits-*/result.json | head -n 1 | xargs dirname)
mkdir -p "$RUNS/verified"

step "verify what was trained, and count the paper's first MgNet three ways"
"$BIN/mgnet-verify" certify "$run/model.safetensors" --json "$RUNS/verified/trained.json"
"$BIN/mgnet-verify" counts mgnet_2_2_2_2_c256_bl

step "hold the paper's printed counts against the exact ones"
"$BIN/mgnet-verify" audit --json "$RUNS/verified/audit.json" | tail -n 4

step "build the leaderboard"
"$BIN/mgnet-leaderboard" ingest "$RUNS" "$RUNS"/verified/*.json --records "$RUNS/records"
"$BIN/mgnet-leaderboard" build --records "$RUNS/records" --out "$SITE"
