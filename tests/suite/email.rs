//! Mails that come in and go out, without a server: cases as text under `tests/email`, and what must hold for any text and any octets.

use lettre::Address;
use mail_parser::MessageParser;
use proptest::prelude::*;
use rapidsms::backends::email::bounce::{message_name, message_of};
use rapidsms::backends::email::quote::Stripping;
use rapidsms::backends::email::read::{FETCH_LIMIT, Fetched, Letter, Reading, SubjectAs, read};
use rapidsms::backends::email::stuffed;
use rapidsms::backends::email::write::{Composed, Thread, Writing, compose, thread_of};
use rapidsms::message::{About, Connection, Ids, MessageId, Origin, Outgoing, Wishes};
use rapidsms::time::Timestamp;
use std::path::Path;
use std::time::{Duration, SystemTime};

fn reading() -> Reading {
    Reading {
        backend: "mail".into(),
        own: vec!["sms@example.org".into()],
        domain: "example.org".into(),
        stripping: Stripping { quotes: true, signature: true },
        text_limit: 4000,
        name_attachments: true,
        subject: SubjectAs::TextIfEmpty,
        allowed: Vec::new(),
        denied: Vec::new(),
    }
}

fn read_plain(octets: &[u8]) -> Letter {
    read(Fetched { octets, size: octets.len(), place: (1, 1) }, &reading())
}

/// `\xNN` is an octet, `\` at the end of a line joins it with the next.
fn octets_of(text: &str) -> Vec<u8> {
    let text = text.replace("\\\n", "");
    let mut octets = Vec::new();
    let mut rest = text.as_str();
    while let Some(letter) = rest.chars().next() {
        let hex: String = rest.chars().skip(2).take_while(char::is_ascii_hexdigit).take(2).collect();
        if rest.starts_with("\\x") && !hex.is_empty() {
            octets.push(u8::from_str_radix(&hex, 16).unwrap());
            rest = &rest[2 + hex.len()..];
        } else if rest.starts_with("\\\\") {
            octets.push(b'\\');
            rest = &rest[2..];
        } else {
            octets.extend(letter.to_string().as_bytes());
            rest = &rest[letter.len_utf8()..];
        }
    }
    octets
}

fn run_cases(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/email").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut count = 0;
    let mut wrong = Vec::new();
    for case in text.split("### ").skip(1) {
        count += 1;
        let (title, rest) = case.split_once('\n').unwrap();
        let mut rules = reading();
        let mut size = None;
        let settings = title.split_once('[').map_or("", |(_, settings)| settings.trim_end_matches(']'));
        for (key, value) in settings.split(' ').filter_map(|pair| pair.split_once('=')) {
            match (key, value) {
                ("attachments", "ignore") => rules.name_attachments = false,
                ("subject", "no") => rules.subject = SubjectAs::Nothing,
                ("subject", "always") => rules.subject = SubjectAs::FirstLine,
                ("quotes", "no") => rules.stripping.quotes = false,
                ("signature", "no") => rules.stripping.signature = false,
                ("limit", limit) => rules.text_limit = limit.parse().unwrap(),
                ("size", octets) => size = Some(octets.parse().unwrap()),
                ("allow", sender) => rules.allowed.push(sender.into()),
                ("deny", sender) => rules.denied.push(sender.into()),
                other => panic!("{title}: what is {other:?}?"),
            }
        }
        let begins = ["\n<<< ", "\n>>> ", "\n!!! "].iter().filter_map(|sign| rest.find(sign)).min();
        let (mail, expected) = match begins {
            Some(at) => (&rest[..at + 1], &rest[at + 1..]),
            None => ("", rest),
        };
        let octets = octets_of(mail);
        let fetched = Fetched { octets: &octets, size: size.unwrap_or(octets.len()), place: (7, 42) };
        let letter = read(fetched, &rules);
        let mut shown: String = letter
            .reports
            .iter()
            .map(|report| {
                let About::Id(id) = report.about else { panic!("{report:?}") };
                format!("<<< {id} {:?} {}\n", report.verdict, report.note.as_deref().unwrap_or_default())
            })
            .collect();
        let incoming = &letter.incoming;
        let identity = &incoming.connection.identity;
        match &incoming.undecodable {
            None => {
                shown += &format!(">>> {identity}\n{}\n", incoming.text);
                let head = incoming.raw.as_deref().unwrap_or_default();
                assert!(octets.starts_with(head) && !head.is_empty(), "{title}: its head is kept");
            }
            Some(reason) => {
                shown += &format!("!!! {identity}: {reason}\n");
                assert_eq!(incoming.raw.as_deref(), Some(octets.as_slice()), "{title}: its octets are kept");
            }
        }
        assert!(incoming.redelivery_key.is_some(), "{title}: it can be known again");
        let fits = match letter.incoming.undecodable {
            None => shown.trim_end() == expected.trim_end(),
            Some(_) => shown.starts_with(expected.trim_end()),
        };
        if !fits {
            wrong.push(format!("{title}\nexpected:\n{expected}\nfound:\n{shown}"));
        }
    }
    assert!(count > 15, "the cases are not read");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n---\n"));
}

#[test]
fn mails_are_read() {
    run_cases("reading.txt");
}

#[test]
fn machines_lists_and_bounces_are_never_answered() {
    run_cases("automatic.txt");
}

/// Fault 44: each of these is one message that no app sees, in bounded time and without a deep stack.
#[test]
fn bombs_are_kept_aside() {
    let head = "From: ada@example.com\r\n";
    let nested: String = (0..10_000).fold(head.to_string(), |mut mail, depth| {
        mail += &format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n");
        mail
    });
    let within: String = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
    let parts = format!(
        "{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b\r\n\r\nx\r\n".repeat(20_000)
    );
    let deep: String = (0..30).fold(head.to_string(), |mut mail, depth| {
        mail += &format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n");
        mail
    });
    let headers = format!("{head}{}\r\nhello", "X-Bomb: 1\r\n".repeat(100_000));
    let long_header = format!("X: {}\r\n{head}\r\nhello", "x".repeat(1024 * 1024));
    for (name, mail, reason) in [
        ("10,000 parts within each other", nested, Some("it cannot be a letter")),
        ("10,000 mails within each other", format!("{head}{within}"), Some("it cannot be a letter")),
        ("20,000 parts", parts, Some("it cannot be a letter: more than 200 parts")),
        ("30 parts within each other", deep, Some("it cannot be a letter: parts lie more than 20 deep")),
        ("100,000 headers", headers, Some("it cannot be a letter: more than 500 header lines")),
        ("a header of 1 MiB", long_header, Some("")),
    ] {
        let octets = &mail.as_bytes()[..mail.len().min(FETCH_LIMIT)];
        let begun = std::time::Instant::now();
        let letter = read(Fetched { octets, size: mail.len(), place: (1, 1) }, &reading());
        assert!(begun.elapsed() < Duration::from_secs(5), "{name}: {:?}", begun.elapsed());
        let said = letter.incoming.undecodable.as_deref();
        let fits = match (reason, said) {
            (Some(reason), Some(said)) => said.starts_with(reason),
            (reason, said) => reason == said,
        };
        assert!(fits, "{name}: {said:?}");
        assert!(letter.incoming.raw.is_some_and(|raw| raw.len() <= FETCH_LIMIT), "{name}");
    }
}

/// What makes a mail known again.
#[test]
fn a_mail_is_known_wherever_the_server_shows_it() {
    let mail =
        b"From: ada@example.com\r\nMessage-ID: <1@x>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\njoin";
    let other =
        b"From: ada@example.com\r\nMessage-ID: <1@x>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\nleave";
    let forged =
        b"From: eve@example.com\r\nMessage-ID: <1@x>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\njoin";
    let moved = b"Received: by b\r\nFrom: ada@example.com\r\nMessage-ID: <1@x>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\njoin";
    let nameless = b"From: ada@example.com\r\n\r\njoin";
    let key = |octets: &[u8], place| {
        let letter = read(Fetched { octets, size: octets.len(), place }, &reading());
        letter.incoming.redelivery_key.unwrap()
    };
    assert_eq!(key(mail, (1, 1)), key(mail, (2, 9)), "under another UIDVALIDITY and UID");
    assert_eq!(key(mail, (1, 1)), key(moved, (1, 2)), "by another way");
    assert_ne!(key(mail, (1, 1)), key(other, (1, 1)), "a careless program repeats its Message-IDs");
    assert_ne!(key(mail, (1, 1)), key(forged, (1, 1)), "a stranger cannot hide somebody else's mail");
    assert_eq!(key(nameless, (1, 1)), key(nameless, (1, 1)));
    assert_ne!(key(nameless, (1, 1)), key(nameless, (1, 2)), "two people who say the same");
    assert_ne!(key(nameless, (1, 1)), key(nameless, (2, 1)), "numbered anew");
}

// What goes out

fn id() -> MessageId {
    Ids::new(None, 7).next(Timestamp::from_seconds(1_795_337_735))
}

fn outgoing(identity: &str, text: &str) -> Outgoing {
    Outgoing {
        id: id(),
        connection: Connection::new("mail", identity),
        by: "mail".into(),
        text: text.into(),
        in_response_to: None,
        answered: None,
        attempt: 1,
        expires_at: Timestamp::from_seconds(i64::from(u32::MAX)),
        origin: Origin::Real,
        wishes: Wishes::default(),
    }
}

fn writing() -> Writing {
    Writing {
        from: "Clinic <sms@example.org>".parse().unwrap(),
        domain: "example.org".into(),
        subject: "Message".into(),
    }
}

fn composed(outgoing: &Outgoing, thread: Option<&Thread>) -> Composed {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_337_735);
    compose(outgoing, thread, &writing(), now).unwrap()
}

fn header<'a>(mail: &'a str, name: &str) -> Option<&'a str> {
    let head = mail.split("\r\n\r\n").next()?;
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_mail_of_ours_has_a_name_and_says_that_a_machine_wrote_it() {
    let message = outgoing("ada@example.com", "hello");
    let first = composed(&message, None);
    let again = composed(&Outgoing { attempt: 2, ..message }, None);
    assert_eq!(first, again, "each attempt is the same mail");
    let mail = String::from_utf8(first.octets).unwrap();
    assert_eq!(header(&mail, "Message-ID"), Some(format!("<{}@example.org>", id()).as_str()));
    assert_eq!(header(&mail, "Auto-Submitted"), Some("auto-generated"));
    assert_eq!(header(&mail, "Subject"), Some("Message"));
    assert_eq!(header(&mail, "From"), Some("Clinic <sms@example.org>"));
    assert_eq!(header(&mail, "To"), Some("ada@example.com"));
    assert_eq!(header(&mail, "MIME-Version"), Some("1.0"));
    assert!(header(&mail, "Date").is_some());
    assert_eq!(header(&mail, "In-Reply-To"), None);
    assert_eq!(message_of(&message_name(id(), "example.org"), "EXAMPLE.org"), Some(id()));
    assert_eq!(message_of(&message_name(id(), "example.org"), "example.com"), None);
}

#[test]
fn an_answer_stands_beside_its_question() {
    let question =
        b"From: Ada <Ada@Example.com>\r\nSubject: =?utf-8?Q?Caf=C3=A9?=\r\nMessage-ID: <q@example.com>\r\n\
        References: <a@x> <b@x>\r\n\r\n";
    let thread = thread_of(question, "Ada@example.com").unwrap();
    let message = Outgoing { in_response_to: Some(id()), ..outgoing("Ada@example.com", "hello") };
    let mail = composed(&message, Some(&thread)).octets;
    let text = String::from_utf8(mail.clone()).unwrap();
    assert_eq!(header(&text, "In-Reply-To"), Some("<q@example.com>"));
    assert_eq!(header(&text, "References"), Some("<a@x> <b@x> <q@example.com>"));
    assert_eq!(header(&text, "Auto-Submitted"), Some("auto-replied"));
    assert_eq!(MessageParser::default().parse(&mail).unwrap().subject(), Some("Re: Café"));
    // Of its own answer to the answer.
    let mail = read_plain(b"From: ada@example.com\r\nSubject: RE: x\r\nMessage-ID: <r@x>\r\n\r\nyes");
    let thread = thread_of(&mail.incoming.raw.unwrap(), "ada@example.com").unwrap();
    let mail = composed(&message, Some(&thread)).octets;
    assert_eq!(MessageParser::default().parse(&mail).unwrap().subject(), Some("RE: x"), "one Re: is enough");
    assert_eq!(thread_of(question, "eve@example.com"), None, "nobody else learns what it was about");
    assert_eq!(thread_of(b"", "ada@example.com"), None);
    assert_eq!(thread_of(&[0, 255, 7], "ada@example.com"), None, "not even of a mail");
}

#[test]
fn a_long_conversation_stays_bounded() {
    let before: String = (0..500).map(|n| format!("<{n}@example.com>\r\n ")).collect();
    let question =
        format!("From: ada@example.com\r\nMessage-ID: <q@x>\r\nReferences: {before}\r\nSubject: x\r\n\r\n");
    let thread = thread_of(question.as_bytes(), "ada@example.com").unwrap();
    let mail = composed(&outgoing("ada@example.com", "hello"), Some(&thread)).octets;
    let parsed = MessageParser::default().parse(&mail).unwrap();
    let references = parsed.header_raw("References").unwrap();
    assert!(references.split_whitespace().count() <= 10, "{references}");
    assert!(references.contains("<0@example.com>") && references.contains("<499@example.com>"));
    assert!(references.trim_end().ends_with("<q@x>"));
}

#[test]
fn who_is_no_address_is_written_to_never() {
    for identity in
        ["+254712345678", "ada", "ada@", "a b@c", "ada@example.com>", "ada@example.com\r\nBcc: x@y", ""]
    {
        let why = compose(&outgoing(identity, "hello"), None, &writing(), SystemTime::UNIX_EPOCH);
        assert!(why.is_err_and(|why| why.contains("no mail address")), "{identity:?}");
    }
}

/// The lines of a mail as a server reads them (RFC 5321, 4.5.2): only CR LF ends one, and a line with a single dot ends the mail.
fn as_a_server_reads(octets: &[u8]) -> Vec<u8> {
    let mut wire = stuffed(octets);
    wire.extend_from_slice(b".\r\n");
    let text: Vec<u8> = wire.clone();
    let mut mail = Vec::new();
    let mut rest = text.as_slice();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("every line ends");
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        assert!(!line.contains(&b'\r') && !line.contains(&b'\n') && !line.contains(&0), "{line:?}");
        assert!(line.len() <= 998, "RFC 5322, 2.1.1: {} octets", line.len());
        rest = after;
        match line {
            b"." => break,
            [b'.', line @ ..] => mail.extend_from_slice(line),
            line => mail.extend_from_slice(line),
        }
        mail.extend_from_slice(b"\r\n");
    }
    assert!(rest.is_empty(), "what follows the end would be commands: {:?}", String::from_utf8_lossy(rest));
    mail
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a person, an app or a mail says: one mail, the headers that we wrote and no others, and the text as it was.
    #[test]
    fn nothing_is_injected(
        text in "(?s)(.|\r\n\\.\r\n|\n\\.\n|\r\\.\r|\nBcc: x@y\n|\r\nQUIT\r\n){0,40}",
        subject in "(?s)(.|\r\n|\nBcc: eve@example.com|\\?=|=\\?){0,30}",
        name in "(?s)(.|\r\n|\nBcc: eve@example.com|<|>){0,30}",
        references in "(?s)(.|<[a-z]{1,3}@x>|\r\n|\nBcc: eve@example.com){0,30}",
    ) {
        let question = format!(
            "From: ada@example.com\r\nSubject: {subject}\r\nMessage-ID: {name}\r\nReferences: {references}\r\n\r\n"
        );
        let thread = thread_of(question.as_bytes(), "ada@example.com");
        let own = Thread { name: Some("<q@x>".into()), before: vec![], subject: Some(subject.replace(['\r', '\n'], " ")) };
        for thread in [thread.as_ref(), None, Some(&own)] {
            let mail = composed(&outgoing("ada@example.com", &text), thread);
            let received = as_a_server_reads(&mail.octets);
            prop_assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(&mail.octets));
            let parsed = MessageParser::default().parse(&received).unwrap();
            let known = ["from", "to", "date", "message-id", "subject", "in-reply-to", "references", "auto-submitted",
                "x-auto-response-suppress", "mime-version", "content-type", "content-transfer-encoding"];
            for (header, _) in parsed.headers_raw() {
                prop_assert!(known.contains(&header.to_ascii_lowercase().as_str()), "{}", header);
            }
            let plain = |text: &str| -> String {
                let text = text.replace("\r\n", "\n").replace('\r', "\n");
                text.chars().filter(|letter| !letter.is_control() || *letter == '\n' || *letter == '\t').collect()
            };
            let arrived = parsed.body_text(0).unwrap_or_default();
            prop_assert_eq!(plain(&arrived).trim_end_matches('\n').to_string(), plain(&text).trim_end_matches('\n').to_string());
        }
    }

    /// Any octets at all become one message that can be stored.
    #[test]
    fn any_octets_are_a_message(octets in proptest::collection::vec(any::<u8>(), 0..2000), size in 0usize..5000) {
        let letter = read(Fetched { octets: &octets, size: size.max(octets.len()), place: (1, 1) }, &reading());
        prop_assert!(!letter.incoming.connection.identity.is_empty());
        prop_assert!(letter.incoming.text.chars().count() <= 10_000);
    }

    /// The same with octets that look like a mail.
    #[test]
    fn anything_like_a_mail_is_a_message(
        mail in "(From: ada@example.com\r\n|Content-Type: (multipart/mixed; boundary=b|text/html|text/plain; charset=[a-z0-9-]{1,12}|message/rfc822)\r\n|Content-Transfer-Encoding: (base64|quoted-printable|x)\r\n|--b\r\n|--b--\r\n|\r\n|> .{0,9}\r\n|<p>|=[0-9A-F]{2}|[A-Za-z0-9+/=]{0,20}\r\n|.){0,60}",
    ) {
        let letter = read_plain(mail.as_bytes());
        prop_assert!(letter.incoming.redelivery_key.is_some());
        let identity = &letter.incoming.connection.identity;
        prop_assert!(!identity.chars().any(char::is_control));
    }
}

#[test]
fn an_address_is_what_the_library_takes_for_one() {
    assert!("ada@example.com".parse::<Address>().is_ok());
    assert!("ada@example.com\r\nRCPT TO:<eve@example.com>".parse::<Address>().is_err());
}
