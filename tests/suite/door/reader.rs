//! Bytes to requests: the tables of `tests/requests`, sizes, and the property that cutting does not matter.

use proptest::prelude::*;
use rapidsms::http::reader::{Progress, Refusal, RequestReader, Sizes};

use super::support::cases;

const REFUSED: &str = include_str!("../../requests/refused.txt");
const ACCEPTED: &str = include_str!("../../requests/accepted.txt");

fn reader(sizes: Sizes) -> RequestReader {
    RequestReader::new(sizes, Some("192.0.2.1:4000".parse().unwrap()))
}

/// All requests in the bytes, each as "METHOD PATH QUERY HOST BODY", and the refusal that ended them.
fn read(sizes: Sizes, bytes: &[u8], cuts: &[usize]) -> (Vec<String>, Option<Refusal>) {
    let mut reader = reader(sizes);
    let mut seen = Vec::new();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let length = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        reader.push(&rest[..length]);
        rest = &rest[length..];
        loop {
            match reader.advance() {
                Ok(Progress::NeedsBytes) => break,
                Ok(Progress::NeedsContinue) => {}
                Ok(Progress::Request(request)) => {
                    let body = String::from_utf8_lossy(request.body()).into_owned();
                    let fields = [
                        request.method(),
                        request.path(),
                        request.query(),
                        request.host().unwrap_or(""),
                        &body,
                    ];
                    seen.push(fields.map(|field| if field.is_empty() { "-" } else { field }).join(" "));
                }
                Err(refusal) => return (seen, Some(refusal)),
            }
        }
        assert!(reader.room() > 0, "a reader that needs bytes takes some");
    }
    (seen, None)
}

#[test]
fn refused_requests_get_their_status() {
    let cases = cases(REFUSED);
    assert!(cases.len() > 40);
    for (title, bytes) in cases {
        let (status, _) = title.split_once(' ').unwrap();
        for cuts in [&[usize::MAX][..], &[1], &[7, 2]] {
            let (seen, refusal) = read(Sizes::default(), &bytes, cuts);
            assert_eq!(seen, Vec::<String>::new(), "{title}");
            let got = refusal.map(|refusal| refusal.status.to_string());
            assert_eq!(got.as_deref(), Some(status), "{title}, cut {cuts:?}");
        }
    }
}

#[test]
fn accepted_requests_are_read_right() {
    for (want, bytes) in cases(ACCEPTED) {
        let bytes = if bytes.ends_with(b"\r\n\r\n") || bytes.ends_with(b"hello") {
            bytes
        } else {
            [&bytes[..], b"\r\n"].concat()
        };
        for cuts in [&[usize::MAX][..], &[1], &[7, 2]] {
            let (seen, refusal) = read(Sizes::default(), &bytes, cuts);
            assert_eq!(refusal, None, "{want}");
            assert_eq!(seen.first(), Some(&want));
        }
    }
}

#[test]
fn sizes_are_kept_to_the_byte() {
    let sizes = Sizes { head_bytes: 100, request_line: 40, headers: 3, body_bytes: 10 };
    let status = |text: String| read(sizes, text.as_bytes(), &[1]).1.map(|refusal| refusal.status);
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length - 14));
    assert_eq!(status(format!("{}Host: a\r\n\r\n", line(40))), None);
    assert_eq!(status(format!("{}Host: a\r\n\r\n", line(41))), Some(414));
    // The line needs no end to be too long.
    assert_eq!(status("G".repeat(41)), Some(414));

    let head = |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "b".repeat(length - 32));
    assert_eq!(head(100).len(), 100);
    assert_eq!(status(head(100)), None);
    assert_eq!(status(head(101)), Some(431));

    let headers = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!(status(headers(3)), None);
    assert_eq!(status(headers(4)), Some(431));

    let body = |length: usize| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "c".repeat(length))
    };
    assert_eq!(status(body(10)), None);
    assert_eq!(status(body(11)), Some(413));
}

#[test]
fn a_request_gives_its_parts_decoded() {
    let mut reader = reader(Sizes::default());
    reader.push(
        b"POST /http/zain/%2B27%2082/?a=1&a=2&t=x%26y+z HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\
          Content-Type: Application/X-WWW-Form-Urlencoded; charset=utf-8\r\n\r\nidentity=%2B27&text=echo+hi",
    );
    let Ok(Progress::Request(request)) = reader.advance() else { panic!("a whole request") };
    assert_eq!(request.segments().unwrap(), ["http", "zain", "+27 82", ""]);
    let pairs: Vec<_> = request.query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(pairs, ["a=1", "a=2", "t=x&y z"]);
    let form: Vec<_> = request.form().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(form, ["identity=+27", "text=echo hi"]);
    assert_eq!(request.media_type(), "application/x-www-form-urlencoded");
    assert_eq!(request.header("CONTENT-length"), Some("27"));
    assert_eq!(request.header("nothing"), None);
    assert_eq!(request.peer().map(|peer| peer.to_string()).as_deref(), Some("192.0.2.1:4000"));
}

/// Pieces of which near-requests are made, so that random input gets beyond the request line.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /echo?x HTTP/1.1\r\n",
        b"HEAD http://h/ HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"Host: a:80\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 99\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"X: \xff\xfe\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b"hello",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let whole: Vec<&'static [u8]> = vec![
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /c HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    ];
    prop_oneof![
        4 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
        3 => proptest::sample::select(whole).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_pieces_come_to_the_same(
        pieces in proptest::collection::vec(piece(), 0..24),
        cuts in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let sizes = Sizes { head_bytes: 300, request_line: 60, headers: 6, body_bytes: 50 };
        let bytes = pieces.concat();
        prop_assert_eq!(read(sizes, &bytes, &[usize::MAX]), read(sizes, &bytes, &cuts));
    }
}
