use proptest::prelude::*;

use super::*;

fn end(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

fn version_2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = v2::PROTOCOL_PREFIX.to_vec();
    octets.extend([0x20 | command, family]);
    octets.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
    octets.extend(payload);
    octets
}

fn ipv4() -> Vec<u8> {
    vec![192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0, 25]
}

#[test]
fn the_client_of_version_1_is_read() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n";
    let source = Source::Client { client: end("192.0.2.1:12345"), server: end("198.51.100.2:25") };
    assert_eq!(Header::parse(line), Ok(Header { len: line.len(), source }));
    let followed = [&line[..], b"EHLO client.example\r\n"].concat();
    assert_eq!(Header::parse(&followed).map(|header| header.len), Ok(line.len()));
    let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
    let source = Source::Client { client: end("[2001:db8::1]:1"), server: end("[2001:db8::2]:65535") };
    assert_eq!(Header::parse(line), Ok(Header { len: line.len(), source }));
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1 25\r\n";
    let source = Source::Client { client: end("192.0.2.1:1"), server: end("198.51.100.2:25") };
    assert_eq!(Header::parse(mapped).map(|header| header.source), Ok(source));
}

#[test]
fn version_1_is_read_strictly() {
    for bad in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 012 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +12 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25 x\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 99999 25\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 1 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\rx\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 25\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(Header::parse(bad.as_bytes()), Err(NoHeader::Malformed), "{bad:?}");
    }
    assert_eq!(Header::parse(b"EHLO client.example\r\n"), Err(NoHeader::Missing));
    assert_eq!(Header::parse(b"proxy TCP4 192.0.2.1 198.51.100.2 1 25\r\n"), Err(NoHeader::Missing));
}

#[test]
fn a_header_that_does_not_end_is_not_waited_for() {
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(V1_BYTES_MAX));
    assert_eq!(Header::parse(endless.as_bytes()), Err(NoHeader::TooLong));
    assert_eq!(Header::parse(&endless.as_bytes()[..V1_BYTES_MAX - 1]), Err(NoHeader::Incomplete(1)));
    let mut huge = v2::PROTOCOL_PREFIX.to_vec();
    huge.extend([0x21, 0x11, 0xff, 0xff]);
    assert_eq!(Header::parse(&huge), Err(NoHeader::TooLong));
}

#[test]
fn the_client_of_version_2_is_read_and_further_values_are_passed_over() {
    let source = Source::Client { client: end("192.0.2.1:12345"), server: end("198.51.100.2:25") };
    let with_values = [ipv4(), vec![0x04, 0, 3, 1, 2, 3]].concat();
    for payload in [ipv4(), with_values] {
        let mut octets = version_2(1, 0x11, &payload);
        let len = octets.len();
        octets.extend(b"EHLO a\r\n");
        assert_eq!(Header::parse(&octets), Ok(Header { len, source }));
    }
}

#[test]
fn version_2_is_read_strictly() {
    for bad in [
        version_2(2, 0x11, &ipv4()),
        version_2(1, 0x12, &ipv4()),
        version_2(1, 0x41, &ipv4()),
        version_2(1, 0x21, &ipv4()),
        version_2(1, 0x11, &ipv4()[..11]),
    ] {
        assert_eq!(Header::parse(&bad), Err(NoHeader::Malformed), "{bad:?}");
    }
}

#[test]
fn behind_unknown_there_may_be_anything() {
    for rest in [&b""[..], b" ", b" x y", b" 1 2 3 4 5 6 7 8", b" \xff\xfe \0 +"] {
        let line = [b"PROXY UNKNOWN", rest, b"\r\n"].concat();
        assert_eq!(Header::parse(&line), Ok(Header { len: line.len(), source: Source::Unknown }), "{rest:?}");
    }
    for bad in [&b"PROXY UNKNOWNS\r\n"[..], b"PROXY UNKNOWN x\n", b"PROXY UNKNOWN \r x\r\n"] {
        assert_eq!(Header::parse(bad), Err(NoHeader::Malformed), "{bad:?}");
    }
}

#[test]
fn nothing_of_local_is_looked_at_and_addresses_of_no_transport_name_nobody() {
    for local in [version_2(0, 0x41, b""), version_2(0, 0x11, b"short"), version_2(0, 0xff, &ipv4())] {
        assert_eq!(Header::parse(&local), Ok(Header { len: local.len(), source: Source::Proxy }), "{local:?}");
    }
    for unknown in [version_2(1, 0x10, &ipv4()), version_2(1, 0x01, b""), version_2(1, 0x30, &[0; 216])] {
        assert_eq!(Header::parse(&unknown), Ok(Header { len: unknown.len(), source: Source::Unknown }), "{unknown:?}");
    }
}

#[test]
fn the_proxy_itself_keeps_its_address_and_a_client_without_one_does_not_get_it() {
    let (proxy, here) = (end("10.0.0.1:4000"), end("10.0.0.2:25"));
    let ends = |octets: &[u8]| Header::parse(octets).expect("a header").ends(proxy, here);
    assert_eq!(ends(&version_2(0, 0x00, b"")), (proxy, here));
    assert_eq!(ends(&version_2(0, 0x11, &ipv4())), (proxy, here), "addresses of LOCAL are not looked at");
    for unknown in [version_2(1, 0x00, b""), version_2(1, 0x31, &[0; 216]), b"PROXY UNKNOWN x y\r\n".to_vec()] {
        assert_eq!(ends(&unknown), (end("0.0.0.0:0"), here));
    }
    let client = version_2(1, 0x11, &ipv4());
    assert_eq!(ends(&client), (end("192.0.2.1:12345"), end("198.51.100.2:25")));
}

proptest! {
    #[test]
    fn anything_is_read_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..700)) {
        let _read = Header::parse(&octets);
    }

    // What is decided about a beginning holds for every connection that begins so.
    #[test]
    fn split_points_do_not_matter(
        payload in prop::collection::vec(any::<u8>(), 0..40),
        is_binary: bool,
        command in 0..4u8,
        family: u8,
    ) {
        let whole = if is_binary {
            version_2(command, family, &payload)
        } else {
            [b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2", payload.as_slice(), b"\r\nEHLO\r\n"].concat()
        };
        let read = Header::parse(&whole);
        for end in 0..whole.len() {
            match Header::parse(&whole[..end]) {
                Err(NoHeader::Incomplete(more)) => {
                    prop_assert!(more > 0);
                    prop_assert!(read.is_err() || end + more <= read.map_or(0, |header| header.len));
                }
                decided => prop_assert_eq!(decided, read),
            }
        }
    }
}
