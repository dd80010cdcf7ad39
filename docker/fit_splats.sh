#!/bin/sh
# Fit Gaussians to a folder that real2sim/splats/nerfstudio.py wrote, in metres of the robot's base frame, and write
# them to OUT/splat.ply: whole, or not at all.
#   fit_splats.sh FOLDER OUT [ns-train options]
set -eu
[ $# -ge 2 ] || { echo "fit_splats.sh: needs FOLDER and OUT" >&2; exit 2; }
folder=$1 out=$2
shift 2
[ -f "$folder/transforms.json" ] || { echo "fit_splats.sh: $folder has no transforms.json" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ns-train splatfacto --data "$folder" --output-dir "$work" --experiment-name fit --timestamp run --vis tensorboard "$@" \
    nerfstudio-data --orientation-method none --center-method none --auto-scale-poses False
ns-export gaussian-splat --load-config "$work/fit/splatfacto/run/config.yml" --output-dir "$work/export"
cp "$work/export/splat.ply" "$out/.splat.ply.partial"
mv "$out/.splat.ply.partial" "$out/splat.ply"
