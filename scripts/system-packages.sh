#!/bin/sh
# Debian packages that pip cannot bring: software rendering through Mesa's EGL, what Open3D links against, and venv
# where Python lacks it.
# Installs what is missing as root (or through sudo); otherwise says the one command that does.
set -eu
missing=""
for pair in libEGL.so.1:libegl1 libGLESv2.so.2:libgles2 dri/swrast_dri.so:libgl1-mesa-dri \
    libGL.so.1:libgl1 libusb-1.0.so.0:libusb-1.0-0 libgomp.so.1:libgomp1; do
    library=${pair%%:*}; package=${pair##*:}
    case $library in
        dri/*) found=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -c 'ok installed' || true) ;;
        *) found=$(ldconfig -p 2>/dev/null | grep -c "$library" || true) ;;
    esac
    [ "$found" -gt 0 ] || missing="$missing $package"
done
"${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
[ -n "$missing" ] || exit 0

run="apt-get install -y -qq --no-install-recommends$missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "dreamarena: needs EGL (Mesa) and Open3D's libraries; on this system install the equivalents of:$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then as_root=""; elif command -v sudo >/dev/null 2>&1; then as_root="sudo"; else
    echo "dreamarena: as root, run: apt-get update && $run" >&2
    exit 1
fi
echo "installing Debian packages:$missing" >&2
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root $run >/dev/null
