#!/bin/sh
# Checks what a pull request changes under leaderboard/results. The folder `base` is a checkout of the base branch, BASE its
# commit, NUMBER the pull request, VALIDATOR the base branch's mgnet-leaderboard. Nothing that was contributed is executed.
set -eu
: "${BASE:?}" "${NUMBER:?}" "${VALIDATOR:?}" "${GITHUB_STEP_SUMMARY:=/dev/stdout}"
case "$NUMBER" in '' | *[!0-9]*) echo "the number of a pull request has digits only, got $NUMBER"; exit 1 ;; esac

# The merge commit, not the head: what stands in the base branch by now is not missing from the contribution.
git -C base fetch --quiet --no-tags origin "+refs/pull/$NUMBER/merge:refs/contributed"
elsewhere=$(git -C base diff --name-only "$BASE" refs/contributed -- . ':(exclude)leaderboard/results/measured')
if [ -n "$elsewhere" ]; then
    echo "a contribution of results changes leaderboard/results/measured and nothing else; this one also changes:"
    echo "$elsewhere"
    exit 1
fi

rm -rf contributed
mkdir contributed
git -C base archive refs/contributed leaderboard/results | tar -x -C contributed
"$VALIDATOR" check --results contributed/leaderboard/results --base base/leaderboard/results >> "$GITHUB_STEP_SUMMARY"
