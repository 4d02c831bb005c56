# What perl is used for, with so many lines, each result printed.
use strict;
use warnings;

my $n = shift;
$| = 1;
my (%count, @lines);
my $x = 12345;
for my $i (1 .. $n) {
    $x = ($x * 1103515245 + 12345) % 2147483648;
    my $word = sprintf "w%05d", $x % 50000;
    $count{$word}++;
    push @lines, "$i $word $x";
}
print scalar(keys %count), " words\n";
my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 4];
print "$_ $count{$_}\n" for @top;

my $text = join "\n", @lines;
print length($text), " ", unpack("%32C*", $text), "\n";
(my $upper = $text) =~ s/w(\d+)/W<$1>/g;
print length($upper), " ", unpack("%32C*", $upper), "\n";
my $matches = () = $text =~ /\b\d*7\d*7\d*\b/g;
print "$matches matches\n";
print length(reverse $text), " ", substr(reverse($text), 0, 20), "\n";
my @sorted = sort { (split / /, $a)[1] cmp (split / /, $b)[1] || $a cmp $b } @lines[0 .. $n / 4];
print unpack("%32C*", join "", @sorted), "\n";
my $packed = pack "N*", map { $_ * 17 } 1 .. $n;
print unpack("%32N*", $packed), " ", length $packed, "\n";
my $bits = "";
vec($bits, $_ * 37 % ($n * 8), 1) = 1 for 1 .. $n;
print unpack("%32b*", $bits), "\n";
my $grown = "";
$grown .= "x" x ($_ % 300) for 1 .. $n / 4;
print length $grown, "\n";

open my $out, ">", "lines" or die $!;
print $out $text;
close $out or die $!;
open my $in, "<", "lines" or die $!;
{ local $/; my $all = <$in>; print $all eq $text ? "the same\n" : "OTHERS\n"; }
close $in;
open $in, "<", "lines" or die $!;
sysread($in, my $buffer, 3 << 20, 1 << 20) // die $!;
print length $buffer, " ", unpack("%32C*", $buffer), "\n";
close $in;

for my $child (1 .. 4) {
    my $pid = open(my $pipe, "-|") // die $!;
    if (!$pid) {
        $text =~ tr/0-9/a-j/;
        print unpack("%32C*", $text), " from child $child\n";
        syswrite STDOUT, substr($text, 0, 2 << 20);
        close STDOUT;
        exit 0;
    }
    $text .= "more $child";
    local $/;
    my $answer = <$pipe>;
    print length $answer, " ", unpack("%32C*", $answer), "\n";
    close $pipe or die "child: $?";
}
open my $cat, "|-", "sha256sum" or die $!;
print $cat $text;
close $cat or die $!;
