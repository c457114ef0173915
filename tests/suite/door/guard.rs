//! Who may ask: each rule as a table.

use rapidsms::web::guard::{check_host, check_origin, is_authorized, is_loopback, is_safe_method};

#[test]
fn only_our_own_pages_and_no_page_at_all_may_change_something() {
    let ours = Some("localhost:8000");
    for (allowed, site, origin, host) in [
        (true, None, None, ours),
        (true, None, None, None),
        (true, Some("same-origin"), Some("http://localhost:8000"), ours),
        (true, Some("none"), None, ours),
        // A proxy rewrote Host; the browser knows better.
        (true, Some("same-origin"), Some("https://sms.example.org"), Some("127.0.0.1:8000")),
        (false, Some("cross-site"), Some("https://evil.example"), ours),
        (false, Some("cross-site"), None, ours),
        (false, Some("same-site"), Some("http://localhost:3000"), ours),
        (false, Some("same-site"), None, ours),
        (false, Some("SAME-ORIGIN, none"), None, ours),
        (false, Some(""), None, ours),
        (true, None, Some("http://localhost:8000"), ours),
        (true, None, Some("HTTP://LOCALHOST:8000"), ours),
        (true, None, Some("http://sms.example"), Some("sms.example:80")),
        (true, None, Some("https://sms.example"), Some("sms.example")),
        (true, None, Some("http://[::1]:8000"), Some("[::1]:8000")),
        (false, None, Some("http://localhost:3000"), ours),
        (false, None, Some("http://localhost"), ours),
        (false, None, Some("https://evil.example"), ours),
        (false, None, Some("http://localhost:8000.evil.example"), ours),
        (false, None, Some("http://localhost:8000@evil.example"), ours),
        (false, None, Some("null"), ours),
        (false, None, Some(""), ours),
        (false, None, Some("file://"), ours),
        (false, None, Some("chrome-extension://localhost:8000"), ours),
        (false, None, Some("http://localhost:8000"), None),
    ] {
        assert_eq!(check_origin(site, origin, host).is_ok(), allowed, "{site:?} {origin:?} {host:?}");
    }
}

#[test]
fn only_names_of_this_machine_are_hosts() {
    let also = ["sms.example.org".to_string()];
    for (allowed, host) in [
        (true, None),
        (true, Some("localhost")),
        (true, Some("LocalHost:8000")),
        (true, Some("127.0.0.1:8000")),
        (true, Some("127.0.0.53")),
        (true, Some("[::1]")),
        (true, Some("[::1]:8000")),
        (true, Some("[::ffff:127.0.0.1]:8000")),
        (true, Some("sms.example.org")),
        (true, Some("SMS.example.org:443")),
        (false, Some("evil.example")),
        (false, Some("localhost.evil.example")),
        (false, Some("127.0.0.1.evil.example:8000")),
        (false, Some("sms.example.org.evil.example")),
        (false, Some("192.168.0.1")),
        (false, Some("0.0.0.0:8000")),
        (false, Some("")),
    ] {
        assert_eq!(check_host(host, &also).is_ok(), allowed, "{host:?}");
    }
}

#[test]
fn the_token_comes_as_bearer_or_as_password() {
    for (allowed, header) in [
        (true, Some("Bearer s3cret:x")),
        (true, Some("bearer   s3cret:x")),
        // "anyone:s3cret:x" and ":s3cret:x"
        (true, Some("Basic YW55b25lOnMzY3JldDp4")),
        (true, Some("basic OnMzY3JldDp4")),
        (false, None),
        (false, Some("")),
        (false, Some("Bearer")),
        (false, Some("Bearer ")),
        (false, Some("Bearer s3cret")),
        (false, Some("Bearer s3cret:xx")),
        (false, Some("Bearer S3CRET:X")),
        (false, Some("s3cret:x")),
        (false, Some("Digest s3cret:x")),
        // "s3cret:x": the token as a user and its password
        (false, Some("Basic czNjcmV0Ong=")),
        (false, Some("Basic ????")),
        (false, Some("Basic ")),
    ] {
        assert_eq!(is_authorized(header, "s3cret:x"), allowed, "{header:?}");
    }
    for header in ["Bearer ", "Bearer", "Basic Og==", "Bearer x"] {
        assert!(!is_authorized(Some(header), ""), "an empty token opens nothing: {header:?}");
    }
}

#[test]
fn loopback_and_safe_methods() {
    for (is, address) in [
        (true, "127.0.0.1:1"),
        (true, "127.1.2.3:1"),
        (true, "[::1]:1"),
        (true, "[::ffff:127.0.0.1]:1"),
        (false, "0.0.0.0:1"),
        (false, "[::]:1"),
        (false, "10.0.0.1:1"),
        (false, "[::ffff:10.0.0.1]:1"),
    ] {
        assert_eq!(is_loopback(&address.parse().unwrap()), is, "{address}");
    }
    assert!(
        is_safe_method("GET") && is_safe_method("HEAD") && !is_safe_method("POST") && !is_safe_method("get")
    );
}
