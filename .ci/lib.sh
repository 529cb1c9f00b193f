# Shared by run and long: sections with their time, and what they have in common. To be sourced.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
export CGO_ENABLED="${CGO_ENABLED:-1}" # the race detector needs it
work="$(mktemp -d)"
mkdir -p "$work/bin"
started=$SECONDS
section_name=""
section_start=$SECONDS

finish() {
	local code=$?
	section_end
	chmod -R u+w "$work" 2>/dev/null || true
	rm -rf "$work"
	if [ "$code" -ne 0 ]; then
		echo "== FAILED in ${section_name:-setup} with exit code $code after $((SECONDS - started)) s"
	fi
	exit "$code"
}
trap finish EXIT

section_end() {
	if [ -n "$section_name" ]; then
		echo "-- $section_name: $((SECONDS - section_start)) s"
	fi
}

# section NAME: ends the one before and begins NAME.
section() {
	section_end
	section_name="$1"
	section_start=$SECONDS
	echo "== $section_name"
}

# install PROGRAM=PACKAGE...: has apt install the packages whose programs are not here, where it can. What stays away is said by the tests that wanted it.
install() {
	local want=() pair program
	for pair in "$@"; do
		program="${pair%%=*}"
		command -v "$program" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$program" >/dev/null || want+=("${pair#*=}")
	done
	[ "${#want[@]}" -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "not here, and cannot be installed: ${want[*]}"
		return 0
	fi
	section "install ${want[*]}"
	(apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${want[@]}") </dev/null >"$work/apt.log" 2>&1 ||
		{ tail -n 20 "$work/apt.log"; echo "could not be installed: ${want[*]}"; }
}

# The real things that tests run against.
real_things=(initdb=postgresql dpkg-deb=dpkg apt-ftparchive=apt-utils gpgv=gpgv gpg=gnupg rpm=rpm createrepo_c=createrepo-c dnf=dnf zypper=zypper ip=iproute2 python3=python3)

# modules: the folder of each module of go.work, one a line.
modules() { go list -m -f '{{.Dir}}'; }

# has_packages DIR: whether the module there has a Go file of its own.
has_packages() { [ -n "$(find "$1" -name '*.go' -not -path '*/testdata/*' -print -quit)" ]; }

# packages_with REGEXP: the folders of packages whose tests match it, as ./path, one a line.
packages_with() {
	grep -rlE --include='*_test.go' "$1" . | grep -v '/testdata/' | xargs -r -n1 dirname | sort -u
}

# fuzz SECONDS: runs every fuzz target so long, two a core (their time is the clock's), from one instrumented test binary a package.
fuzz() {
	local seconds="$1" dir bin
	: >"$work/targets"
	: >"$work/execs"
	while read -r dir; do
		bin="$work/bin/fuzz$(echo "$dir" | tr '/.' '__').test"
		(cd "$dir" && go test -c -fuzz=. -o "$bin" .)
		(cd "$dir" && "$bin" -test.list '^Fuzz') | grep '^Fuzz' | sed "s|^|$dir $bin |" >>"$work/targets" || true
	done < <(packages_with '^func Fuzz[A-Z_]')
	echo "$(wc -l <"$work/targets") targets, $seconds s each"
	fuzz_one() {
		local dir="$1" bin="$2" target="$3" log
		log="$work/fuzz-$target-$$-$RANDOM.log"
		if (cd "$dir" && "$bin" -test.run='^$' -test.fuzz="^$target\$" -test.fuzztime="${seconds}s" -test.fuzzminimizetime=2s \
			-test.parallel=1 -test.fuzzcachedir="$work/fuzzcache/$dir" >"$log" 2>&1 </dev/null) || only_out_of_time "$log"; then
			echo "ok   $dir $target: $(grep -E '^fuzz: elapsed' "$log" | tail -1)"
			grep -oE 'execs: [0-9]+' "$log" | tail -1 | cut -d' ' -f2 >>"$work/execs" || true
		else
			echo "FAIL $dir $target"
			cat "$log"
			return 255 # stops xargs
		fi
	}
	# Go's fuzzer at times takes the end of its own time for a failure of the target: the log then has that one line below the name, and names neither a
	# failing input nor a panic. A target that hangs or crashes says something else, and stays a failure.
	only_out_of_time() {
		[ "$(grep -vE '^(fuzz: |--- FAIL: Fuzz[A-Za-z0-9_]+ \([0-9.]+s\)$|FAIL$|$)' "$1" | sed 's/^ *//')" = "context deadline exceeded" ]
	}
	export -f fuzz_one only_out_of_time
	export work seconds
	xargs -r -L1 -P "$((2 * $(nproc)))" bash -c 'fuzz_one "$@"' fuzz <"$work/targets"
}

# readme_test: the test command that README.md gives, else the usual one.
readme_test() {
	local line=""
	if [ -f README.md ]; then
		line="$(grep -m1 -oE '^[[:space:]]*go test [^#`]*' README.md || true)"
	fi
	echo "${line:-go test ./...}"
}

static_checks() {
	section "gofmt"
	local bad
	bad="$(gofmt -l . | grep -v '/testdata/' || true)"
	if [ -n "$bad" ]; then
		echo "not formatted; run gofmt -w on:"
		echo "$bad"
		exit 1
	fi

	section "tidy in every module"
	modules | while read -r dir; do
		(cd "$dir" && go mod tidy -diff)
	done

	section "vet"
	go vet work

	section "staticcheck in every module"
	(cd tools && GOWORK=off go build -o "$work/bin/staticcheck" honnef.co/go/tools/cmd/staticcheck)
	modules | while read -r dir; do
		if has_packages "$dir"; then
			(cd "$dir" && "$work/bin/staticcheck" ./...)
		fi
	done
}

benchmarks() { # benchmarks TIME
	local list
	list="$(packages_with '^func Benchmark[A-Z_]')"
	if [ -n "$list" ]; then
		# -timeout does not end a benchmark that hangs, such as one that calls testing.Benchmark, so each package has a clock of its own.
		# shellcheck disable=SC2086
		go test -exec 'timeout -k 5 240' -run='^$' -bench=. -benchtime="$1" $list
	fi
}

# long_table: the figures of a long run as a page. Input: FIGURE, what, how often, how many failed, by tabs.
long_table() {
	echo "# The long run"
	echo
	echo "What one run of \`.ci/long\` did: $(date -u +%Y-%m-%d), $(go version | cut -d' ' -f3), $(nproc) cores, $(uname -sr), $((SECONDS - started)) s, commit $(git rev-parse --short HEAD)."
	echo "No failure in *n* independent runs says, at 95 %, that at most about 3 / *n* of such runs fail; that is the last column, and no more than that is claimed."
	echo
	echo "| what | n | failures | rate below |"
	echo "|---|--:|--:|--:|"
	sort -t "$(printf '\t')" -k2,2 | awk -F '\t' '
		{ if (!($2 in n)) order[++k] = $2; n[$2] += $3; f[$2] += $4 }
		END { for (i = 1; i <= k; i++) { w = order[i]; b = f[w] > 0 || n[w] == 0 ? "-" : sprintf("%.2g", 3 / n[w]); printf "| %s | %d | %d | %s |\n", w, n[w], f[w], b } }'
}
