#!/bin/sh
# Checks what a pull request changes under leaderboard/results. The folder `base` is a clone with the base branch, BASE its
# commit, NUMBER the pull request, VALIDATOR the base branch's mgnet-leaderboard. Git's objects are read as data: nothing
# that was contributed is executed, checked out or unpacked.
set -eu
: "${BASE:?}" "${NUMBER:?}" "${VALIDATOR:?}" "${GITHUB_STEP_SUMMARY:=/dev/stdout}"
case "$NUMBER" in '' | *[!0-9]*) echo "the number of a pull request has digits only, got $NUMBER" >&2; exit 2 ;; esac

# The merge commit, not the head: what stands in the base branch by now is not missing from the contribution. fsckObjects
# refuses objects that git itself would not write.
if ! said=$(git -C base -c fetch.fsckObjects=true -c submodule.recurse=false fetch --quiet --no-tags --no-recurse-submodules \
    origin "+refs/pull/$NUMBER/merge:refs/contributed" 2>&1); then
    echo "git refuses pull request $NUMBER: $(printf '%s' "$said" | LC_ALL=C tr -d '\000-\011\013-\037\177-\377' | head -n 1)" >&2
    exit 2
fi
"$VALIDATOR" check-commit base --base "$BASE" --head refs/contributed >> "$GITHUB_STEP_SUMMARY"
