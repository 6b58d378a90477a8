#!/usr/bin/env bash
# Runs the script of docs/operations.md, so that the page stays true.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -o "$work/credence" ./cmd/credence
awk '/^<!-- .ci\/operations.sh runs this block -->/ {armed=1} armed && /^```$/ {exit} on {print} armed && /^```bash$/ {on=1}' docs/operations.md >"$work/operations.bash"
[ "$(wc -l <"$work/operations.bash")" -gt 50 ] || { echo "docs/operations.md: the script is gone"; exit 1; }
CREDENCE="$work/credence" TMPDIR="$work" timeout 600 bash "$work/operations.bash"
