#!/bin/sh
# fuzz.sh PACKAGES: runs every fuzz target for $FUZZTIME, a number of inputs such
# as 10000x. A target that found something fails the run, after the others; its input
# is in the package's testdata. A duration works too, but Go before 1.27 sometimes takes the
# end of that time for a failure: "context deadline exceeded" (golang/go#75804).
set -eu
go=${GO:-go}
out=$(mktemp)
status=0
trap 'rm -f "$out"' EXIT
for dir in $($go list -f '{{.Dir}}' "$@"); do
	for file in "$dir"/*_test.go; do
		[ -e "$file" ] || continue
		for name in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
			echo "fuzz $(basename "$dir") $name"
			(cd "$dir" && $go test -run='^$' -fuzz="^$name\$" -fuzztime="${FUZZTIME:-200000x}" -fuzzminimizetime=1000x . >"$out" 2>&1) || {
				cat "$out"
				status=1
			}
		done
	done
done
exit $status
