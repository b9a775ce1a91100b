#!/usr/bin/env bash
# Builds the image of a folder without a container engine or a registry: Debian by debootstrap, then buildah. Needs root.
#   build.sh CONTEXT STORE    STORE keeps images from run to run
set -euo pipefail
context=$1 store=$2 base=localhost/python:3.11-slim
mkdir -p "$store"
store=$(cd "$store" && pwd)
buildah() { command buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }

if ! buildah inspect --type image "$base" > /dev/null 2>&1; then
  rootfs=$(mktemp -d)
  trap 'rm -rf "$rootfs"' EXIT
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$rootfs"
  container=$(buildah from scratch)
  cp -a "$rootfs"/. "$(buildah mount "$container")"/
  buildah umount "$container"
  buildah config --cmd '["python3"]' "$container"
  buildah commit -q "$container" "$base"
  buildah rm "$container"
fi
# Without --format docker the health check would be dropped. The certificates are those that this machine trusts.
buildah bud --isolation chroot --format docker --volume /etc/ssl/certs:/etc/ssl/certs:ro \
  --build-arg "BASE=$base" -t localhost/trading-gateway "$context"
