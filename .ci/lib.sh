# What `.ci/run` and `.ci/long` share; each step reads it, too, so that it can be run alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
# Debug information is most of what linking costs.
export CARGO_PROFILE_DEV_DEBUG=0

# short: what every change has to pass; full: what a release has to.
size=${CI_SIZE:-short}

# The library's features, as its manifest has them.
features() {
    awk '/^\[/ { on = /^\[features\]/ } on && /^[a-z]/ && $1 != "default" { print $1 }' Cargo.toml
}

# `need_component fmt rustfmt`: the cargo command, and what rustup calls it.
need_component() {
    cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2"
}

# `have_tool cargo-deny 0.18`: installs a tool where that is possible, and says whether it is there.
have_tool() {
    command -v "$1" >/dev/null 2>&1 && return
    echo "installing $1"
    CARGO_TARGET_DIR=target/tools cargo install --quiet --locked --version "^$2" "$1"
}

# What could not be done is seen, and does not fail a machine that cannot do it.
skipped() {
    echo "SKIPPED: $*"
}

# A Python with the urllib3 that is compared with, if there can be one.
urllib3_python() {
    local venv=target/urllib3
    if python3 -m venv "$venv" >&2 &&
        "$venv/bin/pip" install --quiet --disable-pip-version-check urllib3==2.8.0 >&2; then
        echo "$PWD/$venv/bin/python"
    else
        skipped "urllib3 2.8.0 cannot be installed: nothing is compared with it" >&2
    fi
}

# Runs each file of a folder, in order.
run_steps() {
    local step
    for step in "$1"/*; do
        printf '\n== %s (%d s so far)\n' "${step##*/}" "$SECONDS"
        "$step"
    done
}

# Runs a command, and adds up what all its test runners said.
# The last line reads like one of theirs, and is the result of all of it.
with_closing_line() {
    local log=target/ci-$$.log ended=0
    mkdir -p target
    "$@" 2>&1 | tee "$log" || ended=$?
    awk -v ended="$ended" -v took="$SECONDS" '
        /^test result: / { passed += $4; failed += $6; ignored += $8 }
        /^SKIPPED: |: SKIPPED: / { skipped[++skips] = $0 }
        END {
            for (i = 1; i <= skips; i++) print skipped[i]
            word = ended == 0 ? "ok" : "FAILED"
            printf "\ntest result: %s. %d passed; %d failed; %d ignored; 0 measured; " \
                "0 filtered out; finished in %d.00s\n", word, passed, failed, ignored, took
        }' "$log"
    rm -f "$log"
    return "$ended"
}
