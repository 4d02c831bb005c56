# what: tar and gzip pack, unpack, list and compare a tree; bzip2 and xz, sort, sha256sum, diff beside them
# needs: tar gzip xz
# packages: tar gzip xz-utils
# seconds: 600
# overhead
# quick
prepare() {
    [ -d "$INPUT/tree" ] && return
    mkdir "$INPUT/tree.new"
    git -C "$root" archive HEAD | tar -x -C "$INPUT/tree.new" || skip "this is not a git repository"
    # A larger file: headers, as text.
    find /usr/include -type f -name '*.h' | sort | xargs cat | head -c 30000000 >"$INPUT/tree.new/headers" || true
    mv "$INPUT/tree.new" "$INPUT/tree"
}
work() {
    mkdir out
    local all=(--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner)
    [ "$PROOF_SIZE" != quick ] || all+=(--exclude=headers)
    under tar -C "$INPUT" "${all[@]}" -b 4096 -cf out/tree.tar tree
    under gzip -n -k out/tree.tar
    under gzip -dc out/tree.tar.gz | cmp - out/tree.tar
    under xz -T2 -1 -k out/tree.tar
    under xz -dc out/tree.tar.xz | cmp - out/tree.tar
    under tar -tvf out/tree.tar | sha256sum
    mkdir again
    under tar -C again -xzf out/tree.tar.gz
    under tar -C "$INPUT" "${all[@]}" -czf again.tar.gz tree
    (cd again && find . -type f -print0 | sort -z | under xargs -0 sha256sum) | sha256sum
    under sort -S 16M --parallel=2 -T . <(cd again && find . -type f -exec cat {} +) | sha256sum
    rm -r again
}
