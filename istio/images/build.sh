#!/bin/sh
# Builds two images with buildah, without a registry and as any user: the filter and the service. They become
# target/images/cartgate-filter and target/images/cartgate, directories in the OCI layout; what there is to pin is
# printed. From there to your registry, as they are:
#
#   skopeo copy --preserve-digests oci:target/images/cartgate:VERSION docker://REGISTRY/cartgate:VERSION
#
# It wants target/cartgate_filter.wasm and target/release/cartgate, which `make build` builds. The service is the very
# program that is measured and that `make run` serves, linked against glibc: so the image has the libraries of the
# machine that builds it, and no others would do. With `-C target-feature=+crt-static` it needs none, and was seen to
# start and to look up names in an empty root; but that would be another program, built for this alone.
set -eu
cd "$(dirname "$0")/../.."

images=target/images
for input in target/cartgate_filter.wasm target/release/cartgate; do
    if [ ! -f "$input" ]; then
        echo "Missing: $input. \`make build\` in cartgate's own directory builds it." >&2
        exit 1
    fi
done
if ! command -v buildah >/dev/null; then
    echo "Missing: buildah. On Debian: apt-get install -y buildah" >&2
    exit 1
fi
rm -rf "$images"
mkdir -p "$images/context/root/usr/bin" "$images/context/root/etc/ssl/certs"

# All in one place, and nothing of the user's own.
storage() {
    command=$1
    shift
    buildah --root "$PWD/$images/storage" --runroot "$PWD/$images/run" --storage-driver vfs "$command" "$@"
}

# The same bytes give the same digest, whenever they are built.
build() {
    storage bud --quiet --isolation chroot --timestamp 0 --file "istio/images/$2.Containerfile" --tag "$1:$version" \
        "$images/context" >/dev/null
    storage push --quiet --digestfile "$images/$1.digest" "$1:$version" "oci:$images/$1:$version"
}

root=$images/context/root
cp target/cartgate_filter.wasm "$images/context/"
chmod 0644 "$images/context/cartgate_filter.wasm"
cp target/release/cartgate "$root/usr/bin/"
version=$("$root/usr/bin/cartgate" --version | cut -d ' ' -f 2)

# Libraries and their loader, where the program looks for them. What glibc needs to look up names is in libc itself
# since 2.34.
ldd "$root/usr/bin/cartgate" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

build cartgate-filter filter
build cartgate service
rm -rf "$images/storage" "$images/run"

echo "MODULE in istio/edge/filter.yaml:          oci://REGISTRY/cartgate-filter@$(cat $images/cartgate-filter.digest)"
echo "IMAGE in istio/overlay/kustomization.yaml: digest: $(cat $images/cartgate.digest)"
echo "To push them:"
for image in cartgate-filter cartgate; do
    echo "skopeo copy --preserve-digests oci:$images/$image:$version docker://REGISTRY/$image:$version"
done
