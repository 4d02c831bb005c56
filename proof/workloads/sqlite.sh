# what: sqlite3: two million rows, indices, joins, vacuum, dump and reload
# needs: sqlite3
# packages: sqlite3
# seconds: 1200
# overhead
# quick
work() {
    mkdir out
    local rows
    rows=$(sized 2000000 200000 300000)
    sed "s/ROWS/$rows/" "$here/rows.sql" >rows.sql
    under sqlite3 -batch out/rows.db ".read rows.sql"
    under sqlite3 -batch out/rows.db .dump >dump.sql
    sha256sum <dump.sql
    under sqlite3 -batch again.db <dump.sql
    cmp <(sqlite3 again.db .dump) dump.sql && echo the same
    rm dump.sql again.db
}
