# Sourced before a build whose bytes are to be the same wherever it is made: the folders of the sources, of what is built and of
# cargo's own are called /moldau, /target and /cargo in the binary, whatever they are here. Where cargo's flags are set already, these
# come behind them.
_sources=$(pwd -P)
_target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
_cargo=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")
_rust=$(rustc --print sysroot)
# The last one that matches counts: what lies within another comes behind it.
_maps=("$_sources=/moldau" "$_cargo=/cargo" "$_rust=/rust" "$_target=/target")
for _map in "${_maps[@]}"; do
  RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$_map"
  CFLAGS="${CFLAGS:-} -ffile-prefix-map=$_map"
done
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
# One locale, and no names of this machine in what C compilers and archivers write.
LC_ALL=C
export RUSTFLAGS CFLAGS SOURCE_DATE_EPOCH LC_ALL
unset _sources _target _cargo _rust _maps _map
