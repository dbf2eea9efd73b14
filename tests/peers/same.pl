# same.pl SENT STORED NAME: whether a store has a message as it was sent. It keeps lines with LF, puts fields of its own
# in front, and right before the text stands the one Received field of the server NAME.
use strict;
use warnings;

my ($sent, $stored) = map { local ($/, @ARGV) = (undef, $_); <> } @ARGV[0, 1];
my $name = quotemeta $ARGV[2];
s/\r\n/\n/g for $sent, $stored;
die "stored is:\n$stored\nsent was:\n$sent" unless substr($stored, -length $sent) eq $sent;
my $front = substr($stored, 0, length($stored) - length $sent);
$front =~ s/\n[ \t]+/ /g;
my @by = $front =~ /^Received: from \S+ .* by $name .*$/mg;
die "Received by $ARGV[2] is there " . @by . " times:\n$front" unless @by == 1;
die "the server wrote more than its Received field:\n$front" unless $front =~ /^Received: [^\n]* by $name [^\n]*\n\z/m;
