#!/usr/bin/env bash
# Checks that every depguard rule of .golangci.yml bites: an empty module of the
# same folders gets one forbidden import for each pair below, and the linter
# must refuse every one of them.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/.ci"
cp .golangci.yml go.mod go.sum "$copy"
cp -r .ci/tools "$copy/.ci"
cd "$copy"

# folder, forbidden import, and whether the importing file is a test. External
# test packages may import what would be a cycle elsewhere.
cat >forbidden.txt <<'LIST'
fl            google.golang.org/grpc                code
fl            credence/he                           test
fl/round      credence/fl/credit                    code
fl/credit     gonum.org/v1/gonum/stat               code
fl/credit     credence/models                       test
fl/identity   credence/fl/flpb                      code
fl/flpb       github.com/google/go-cmp/cmp          code
fl/flpb       credence/aggregator                   test
fl/privacy    credence/fl/credit                    code
fl/translog   github.com/spf13/cobra                code
he            credence/models                       test
datasets      credence/experiments                  test
zk            credence/models                       test
models        credence/datasets                     test
datasets      credence/client                       test
datasets      google.golang.org/grpc                code
client        credence/aggregator                   test
client        credence/aggregator/store/sqlite      test
aggregator    credence/client                       test
aggregator    credence/models                       test
aggregator/store/sqlite  credence/datasets          test
experiments   credence/cmd/credence                 test
zk            github.com/tuneinsight/lattigo/v5/ring  code
client        github.com/tuneinsight/lattigo/v5/ring  code
client        gorgonia.org/tensor                   code
aggregator    gorgonia.org/gorgonia                 code
he            github.com/consensys/gnark/frontend   code
client        modernc.org/sqlite                    code
aggregator    github.com/spf13/cobra                code
datasets      gonum.org/v1/plot                     code
LIST

# Every folder that is named is a package.
while read -r folder; do
  mkdir -p "$folder"
  printf 'package %s\n' "$(basename "$folder")" >"$folder/package.go"
done < <(awk '{print $1} $2 ~ /^credence\// {sub("^credence/", "", $2); print $2}' forbidden.txt | sort -u)

n=0
while read -r folder import kind; do
  n=$((n + 1))
  name=$(basename "$folder") file=$folder/forbidden$n.go
  if [ "$kind" = test ]; then file=$folder/forbidden${n}_test.go name=${name}_test; fi
  printf 'package %s\n\nimport _ "%s"\n' "$name" "$import" >"$file"
  echo "$file $import" >>expected.txt
done <forbidden.txt

go tool -modfile=.ci/tools/go.mod golangci-lint run --enable-only depguard >lint.txt 2>&1 || true

failed=0
while read -r file import; do
  if ! grep -F "$file:" lint.txt | grep -qF "'$import'"; then
    echo "not refused: $file imports $import"
    failed=1
  fi
done <expected.txt
[ "$failed" = 0 ] || { echo "--- the linter said:"; head -n 50 lint.txt; exit 1; }
echo "$n forbidden imports, all refused"
