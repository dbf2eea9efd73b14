# send.pl PORT FILE MAIL-ARGUMENTS RCPT-ARGUMENTS...: one message, octet for octet as the file has it.
# Everything after `MAIL FROM:` and `RCPT TO:` is said as it is given, and any refusal ends it.
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $file, $mail, @recipients) = @ARGV;
my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 20) or die "cannot connect to $port: $!\n";
my $text = do { local ($/, @ARGV) = (undef, $file); <> };
$text =~ s/^\./../mg;

sub reply {
    my ($wanted, $to) = @_;
    while (my $line = <$socket>) {
        next if $line =~ /^\d{3}-/;
        die "$to: $line" unless $line =~ /^$wanted/;
        return;
    }
    die "$to: the connection ended\n";
}

sub command {
    my ($line, $wanted) = @_;
    print $socket "$line\r\n";
    reply($wanted, $line);
}

$SIG{ALRM} = sub { die "no reply in 60 seconds\n" };
alarm 60;
reply(220, 'greeting');
command('EHLO client.example', 250);
command("MAIL FROM:$mail", 250);
command("RCPT TO:$_", 250) for @recipients;
command('DATA', 354);
print $socket $text;
command('.', 250);
command('QUIT', 221);
