#!/usr/bin/env bash
# check.sh DIR: the packages in DIR are what they should be: all six, without a word of lintian's, and what is in them runs
# from where it was unpacked.
set -euo pipefail
dir=$(cd "$1" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

fail() {
        echo "packages: $*" >&2
        exit 1
}

for package in svmd libsvmd1 libsvmd-dev python3-svmd svmd-ctl svmd-exporter; do
        files=("$dir/$package"_*.deb)
        [ ${#files[@]} -eq 1 ] && [ -e "${files[0]}" ] || fail "$dir has not one package $package"
        dpkg-deb -x "${files[0]}" "$root"
done
lintian --allow-root --fail-on error,warning "$dir"/*.deb || fail "lintian has found something"

# It can fail: a package without its copyright is refused.
mkdir "$root/bad" && dpkg-deb -R "$dir"/libsvmd1_*.deb "$root/bad" && rm "$root/bad/usr/share/doc/libsvmd1/copyright"
dpkg-deb --root-owner-group -b "$root/bad" "$root/libsvmd1_0_amd64.deb" >/dev/null
if lintian --allow-root --fail-on error "$root"/libsvmd1_0_amd64.deb >/dev/null 2>&1; then
        fail "lintian takes a package without a copyright"
fi
rm -r "$root/bad"

lib=$(dirname "$(find "$root" -name libsvmd.so.1)")
export LD_LIBRARY_PATH=$lib
for program in sbin/svmd sbin/svmd-exporter bin/svmd-ctl bin/svmd-run libexec/svmd-keeper libexec/svmd-cgroup libexec/svmd-smi libexec/svmd-cuda libexec/svmd-hook; do
        "$root/usr/$program" --help >/dev/null || fail "$program does not run"
        ! grep -qE 'RPATH|RUNPATH' <(readelf -d "$root/usr/$program") || fail "$program looks for libraries where it was built"
done
grep -q 'soname: \[libsvmd.so.1\]' <(readelf -d "$lib/libsvmd.so.1") || fail "libsvmd1 has another library"
grep -q 'libsvmd1 (>=' <(dpkg-deb -f "$dir"/svmd-ctl_*.deb Depends) || fail "svmd-ctl does not ask for its library"
said=$(PYTHONPATH=$root/usr/lib/python3/dist-packages /usr/bin/python3 -B -c 'import svmd; print(svmd.version(), svmd.PAGE)')
[ "$said" = "$(dpkg-deb -f "$dir"/libsvmd1_*.deb Version | sed 's/-.*//') 4096" ] || fail "python3-svmd says: $said"
echo "the packages are good: $(cd "$dir" && echo *.deb)"
