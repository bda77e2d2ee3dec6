#!/usr/bin/env bash
# Unpack ImageNet-1K of OpenDataLab for ImageNet-LT; `mim download` calls it.
# Usage: odl_imagenet_lt_preprocess.sh DOWNLOAD_ROOT DATA_ROOT
set -euo pipefail

download_root=$1
data_root=$2

mkdir -p "$data_root"
cat "$download_root"/ImageNet-1K/raw/*.tar.gz.* | tar -xz -C "$download_root"
mv "$download_root"/ImageNet-1K/{train,val} "$data_root"

echo "The images are in $data_root. Put the lists there, then check them:"
echo "python tools/dataset_converters/prepare.py imagenet-lt --root '$data_root'"
