# what: perl: hashes, sorting, strings of many megabytes, regular expressions, pack, fork and pipes
# needs: perl
# packages: perl
# seconds: 600
# overhead
# quick
work() { PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0 under perl "$here/work.pl" "$(sized 80000 20000 300000)"; }
