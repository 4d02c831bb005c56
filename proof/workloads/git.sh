# what: git: clone, log with all changes, repack, check, diff, archive of this repository
# needs: git
# packages: git
# seconds: 360
# overhead
# quick
prepare() {
    [ -d "$INPUT/repository" ] && return
    # A copy that stays as it is while this repository goes on.
    git clone --quiet --bare --no-local "$root" "$INPUT/repository.new" 2>&1 || skip "this is not a git repository"
    mv "$INPUT/repository.new" "$INPUT/repository"
}
work() {
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_PAGER=cat
    under git clone --quiet --no-local "$INPUT/repository" clone
    under git -C clone log -p --stat -M HEAD | sha256sum
    under git -C clone -c pack.threads=1 -c pack.window="$(sized 50 10)" repack -adfq
    under git -C clone fsck --full --strict
    (cd clone/.git/objects/pack && for pack in *.pack; do under git verify-pack -v "$pack" | sha256sum; done)
    under git -C clone rev-list --objects --all | sha256sum
    under git -C clone diff --stat "$(git -C clone rev-list --max-parents=0 HEAD | tail -1)" HEAD | sha256sum
    under git -C clone archive --format=tar HEAD | sha256sum
    under git -C clone grep -c fn HEAD | sha256sum
    under git -C clone blame HEAD -- Cargo.toml | sha256sum
    git -C clone status --short
}
