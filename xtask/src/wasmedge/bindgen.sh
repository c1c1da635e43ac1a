#!/bin/sh
# Stands in for bindgen, so that no libclang is needed: wasmedge-sys ships the bindings of the version that it is for,
# and runs this in its own folder.
while [ $# -gt 0 ]; do
    if [ "$1" = -o ]; then
        exec cp bindings/wasmedge.rs "$2"
    fi
    shift
done
echo "no -o among the arguments" >&2
exit 1
