#!/bin/bash
# Builds V8 with its sandbox on, from the crate's own sources: see README.md for what each step is for.
#
#   v8/build.sh [WORK_FOLDER]      default: ./.tmp/v8-build; needs about 12 GB and Debian 12 on x86_64
#
# Environment: SKIP_APT=1 if the tools are there already; GN=<command> for a GN of your own; JOBS=<number>.
# The result is written next to this script. Re-running continues where the last run stopped.
set -euo pipefail

V8_CRATE=152.2.0
ICU_CRATE=0.78.0
LLVM=22
GN_VERSION=0.0~git20260916
TARGET=x86_64-unknown-linux-gnu
SUFFIX=_ptrcomp_sandbox_release_${TARGET}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mkdir -p "${1:-$here/../.tmp/v8-build}" && cd "${1:-$here/../.tmp/v8-build}" && pwd)
source_tree=$work/v8
out=$work/out
jobs=${JOBS:-$(nproc)}

step() { printf '\n== %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

install_tools() {
  step "tools from Debian 12"
  as_root apt-get update
  as_root apt-get install --yes --no-install-recommends \
    "clang-$LLVM" "lld-$LLVM" "llvm-$LLVM" "libclang-$LLVM-dev" "libclang-rt-$LLVM-dev" \
    ninja-build pkg-config python3 curl ca-certificates binutils xz-utils zstd
}

# Lets cargo download a crate and copies its sources, which cargo has checked against the registry's checksum.
fetch_crate() {
  local name=$1 version=$2 into=$3 probe=$work/fetch/$1
  [ -e "$into/.complete" ] && return
  step "crate $name $version"
  rm -rf "$into" "$probe"
  mkdir -p "$probe/src"
  : > "$probe/src/lib.rs"
  printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n%s = "=%s"\n' \
    "$name" "$version" > "$probe/Cargo.toml"
  local manifest
  manifest=$(cd "$probe" && cargo metadata --format-version 1 | python3 -c '
import json, sys
name = sys.argv[1]
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == name))' "$name")
  cp -R "$(dirname "$manifest")" "$into"
  chmod -R u+w "$into"
  touch "$into/.complete"
}

# Debian sid's GN with sid's own loader and C++ library, unpacked into a folder: nothing of sid is installed.
fetch_gn() {
  local sid=$work/sid lib
  if [ ! -x "$sid/usr/bin/gn" ]; then
    step "GN from Debian sid"
    local lists=$sid.lists
    mkdir -p "$sid" "$lists/partial" "$sid.debs"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n' > "$sid.list"
    local options=(
      -o "Dir::Etc::SourceList=$sid.list" -o Dir::Etc::SourceParts=/dev/null
      -o "Dir::State::Lists=$lists" -o "Dir::Cache=$sid.cache" -o APT::Sandbox::User=root
    )
    mkdir -p "$sid.cache/archives/partial"
    apt-get "${options[@]}" update
    local available
    available=$(apt-cache "${options[@]}" madison generate-ninja | awk '{ print $3; exit }')
    case $available in
      "$GN_VERSION"*) ;;
      *) printf 'sid has generate-ninja %s now; this recipe was tried with %s\n' "$available" "$GN_VERSION" >&2 ;;
    esac
    (cd "$sid.debs" && apt-get "${options[@]}" download generate-ninja libc6 libstdc++6 libgcc-s1)
    local package
    for package in "$sid.debs"/*.deb; do dpkg-deb --extract "$package" "$sid"; done
  fi
  lib=$sid/usr/lib/x86_64-linux-gnu
  gn_command=("$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$sid/usr/bin/gn")
}

link_compiler_rt() {
  local lib=/usr/lib/llvm-$LLVM/lib/clang/$LLVM/lib
  [ -e "$lib/linux/libclang_rt.builtins-x86_64.a" ] && return
  step "compiler-rt where Chromium's build looks for it"
  as_root mkdir -p "$lib/linux"
  as_root ln -s "../$TARGET/libclang_rt.builtins.a" "$lib/linux/libclang_rt.builtins-x86_64.a"
}

change_source() {
  local file=$source_tree/v8/src/sandbox/testing.cc
  local condition='^#if defined(V8_USE_ADDRESS_SANITIZER) || defined(V8_USE_MEMORY_SANITIZER) || '
  if grep -A1 "$condition" "$file" | grep -qx '    0'; then return; fi
  step "the one source change"
  # Only in the line after the condition that defines V8_USE_ANY_SANITIZER.
  sed -i "/$condition/{n;s/defined(V8_USE_UNDEFINED_BEHAVIOR_SANITIZER)/0/}" "$file"
  grep -A1 "$condition" "$file" | grep -qx '    0' || {
    printf '%s does not look as expected\n' "$file" >&2
    exit 1
  }
}

generate() {
  step "gn gen"
  (cd "$source_tree" && "${gn_command[@]}" --root=. --script-executable=python3 gen "$out" --args="$(cat "$here/args.gn")")
  find "$out" -name '*.ninja' -exec sed -i -E \
    -e 's/ -fdiagnostics-show-inlining-chain\b//g' \
    -e 's/ -fno-lifetime-dse\b//g' \
    -e 's/ -fsanitize-ignore-for-ubsan-feature=[^ ]*//g' {} +
  touch "$out/.generated"
}

pack() {
  step "strip and compress"
  local archive=$work/librusty_v8.a
  cp "$out/obj/librusty_v8.a" "$archive"
  "llvm-strip-$LLVM" --strip-debug --strip-unneeded "$archive"
  gzip -9 -n --stdout "$archive" > "$here/librusty_v8$SUFFIX.a.gz"
  cp "$source_tree/gen/src_binding_release_$TARGET.rs" "$here/src_binding$SUFFIX.rs"
  (cd "$here" && sha256sum "librusty_v8$SUFFIX.a.gz" "src_binding$SUFFIX.rs" args.gn > SHA256SUMS)
  cat "$here/SHA256SUMS"
}

[ -n "${SKIP_APT:-}" ] || install_tools
fetch_crate v8 "$V8_CRATE" "$source_tree"
fetch_crate deno_core_icudata "$ICU_CRATE" "$work/icudata"
mkdir -p "$source_tree/third_party/icu/common"
cp "$work/icudata/src/icudtl.dat" "$source_tree/third_party/icu/common/icudtl.dat"
if [ -n "${GN:-}" ]; then gn_command=("$GN"); else fetch_gn; fi
link_compiler_rt
change_source
[ -e "$out/.generated" ] || generate
step "ninja"
ninja -C "$out" -j "$jobs" rusty_v8
pack
