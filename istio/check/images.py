"""Looks into the two images that istio/images/build.sh has made, and starts the service from its own root, as
nobody and with nothing else of this machine."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

from live import call, free_port, process, until

IMAGES = pathlib.Path("target/images")
USER = "65532:65532"

# A program of 16 MB, and libraries: what is much more than that has something in it that does not belong there.
MB_MAX = 40


def blob(layout, descriptor):
    """What a descriptor is of, if it is that."""
    name = descriptor["digest"].removeprefix("sha256:")
    data = (layout / "blobs" / "sha256" / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != name or len(data) != descriptor["size"]:
        raise SystemExit(f"{layout}: {name} is damaged")
    return data


def unpack(name, root):
    """Unpacks an image's layers. Gives its configuration."""
    layout = IMAGES / name
    (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
    if descriptor["digest"] != (IMAGES / f"{name}.digest").read_text().strip():
        raise SystemExit(f"{name}: another digest is printed than it has")
    manifest = json.loads(blob(layout, descriptor))
    if len(manifest["layers"]) != 1:
        raise SystemExit(f"{name}: has {len(manifest['layers'])} layers, and is to have one")
    for layer in manifest["layers"]:
        archive = root.parent / "layer"
        archive.write_bytes(blob(layout, layer))
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.uid or member.gid or member.mode & 0o022:
                    raise SystemExit(f"{name}: others than root may change /{member.name}")
            # As it is: it was made here. An attribute, since older Pythons know no such argument.
            tar.extraction_filter = lambda member, _: member
            tar.extractall(root)
    return json.loads(blob(layout, manifest["config"]))["config"]


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def check_filter(root):
    unpack("cartgate-filter", root)
    if files(root) != ["plugin.wasm"]:
        raise SystemExit(f"cartgate-filter: has {files(root)} in it, and is to have plugin.wasm alone")
    if (root / "plugin.wasm").read_bytes() != pathlib.Path("target/cartgate_filter.wasm").read_bytes():
        raise SystemExit("cartgate-filter: plugin.wasm is not target/cartgate_filter.wasm")


def check_service(root, writable):
    config = unpack("cartgate", root)
    if config.get("User") != USER or config.get("Entrypoint") != ["/usr/bin/cartgate"] or config.get("Cmd"):
        raise SystemExit(f"cartgate: {config}")
    mb = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 1e6
    if mb > MB_MAX:
        raise SystemExit(f"cartgate: {mb:.0f} MB")
    # The image's user has one directory to write to, as its pod has a volume.
    writable.mkdir()
    os.chmod(writable, 0o777)
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin")
    as_nobody = [chroot, f"--userspec={USER}"] if os.geteuid() == 0 else ["unshare", "--map-root-user", chroot]
    command = [*as_nobody, root, *config["Entrypoint"]]
    version = subprocess.run([*command, "--version"], env={}, check=True, capture_output=True, text=True).stdout
    port = free_port()
    arguments = ["serve", "--development", f"--listen=127.0.0.1:{port}", f"--data=/{writable.name}"]
    with process(root.parent / "log", *command, *arguments) as child:
        until("the service of the image is ready", lambda: call("GET", f"http://127.0.0.1:{port}/ready")[0] == 200)
        child.terminate()
        child.wait(30)
    # A Redis by name: it is looked up, with what is in the image and what kubelet puts there.
    (root / "etc/hosts").write_text("127.0.0.1 redis.example\n")
    doctor = [*command, "doctor", "--store=redis://redis.example:1"]
    said = subprocess.run(doctor, env={}, check=False, capture_output=True, text=True)
    if "refused" not in said.stderr + said.stdout:
        raise SystemExit(f"cartgate doctor, by name: {said}")
    return version.strip(), mb


def main():
    with tempfile.TemporaryDirectory() as at:
        os.chmod(at, 0o755)
        at = pathlib.Path(at)
        check_filter(at / "filter")
        version, mb = check_service(at / "service", at / "service" / "data")
        shutil.rmtree(at / "service")
    print(f"images: {version}, {mb:.0f} MB, starts as {USER}; the filter's is one file")


if __name__ == "__main__":
    sys.exit(main())
