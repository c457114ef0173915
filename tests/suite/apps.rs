//! The apps in the box. What people see stands in `tests/scripts/*.txt`; here is what a transcript cannot say.

use proptest::prelude::*;
use rapidsms::apps::echo::{Echo, EchoHandler, PingHandler};
use rapidsms::apps::fallback::{DEFAULT_RESPONSE, Fallback, TemplateError};
use rapidsms::apps::handlers::{HandlerError, Handlers, number};
use rapidsms::apps::keyword::{KeywordHandler, after_keyword};
use rapidsms::apps::pattern::PatternHandler;
use rapidsms::apps::registration::{LANGUAGES, NAME_LIMIT, Registration};
use rapidsms::apps::{Answers, Host, LateAnswer, Message};
use rapidsms::message::{Connection, Contact, MessageId, Origin, TEXT_LIMIT};
use rapidsms::phases::{Apps, Outcome, Progress, run};
use rapidsms::store::{ContactChange, Unfinished};
use rapidsms::testing::{TestRouter, TestScript};
use rapidsms::time::Timestamp;
use std::sync::Arc;

#[test]
fn echo_script() {
    play("echo.txt", Apps::new().with("echo", Echo));
}

#[test]
fn default_script() {
    play("default.txt", Apps::new().with("echo", Echo).with("default", fallback()));
}

#[test]
fn registration_script() {
    play("registration.txt", Apps::new().with("registration", registration()).with("default", fallback()));
}

#[test]
fn handlers_script() {
    play("handlers.txt", everything());
}

/// The rule of the keywords, case by case: what follows the keyword, blanks and all.
#[test]
fn the_text_after_a_keyword() {
    let cases = [
        ("echo", "echo hello", Some("hello")),
        ("echo", " \t\u{a0}\u{3000}\n echo hello", Some("hello")),
        // Blanks at the end are the handler's to keep or to trim.
        ("echo", "echo  hello \n", Some("hello \n")),
        ("echo", "echo", Some("")),
        ("echo", "echo ", Some("")),
        ("echo", "echo ,;:\n", Some("")),
        ("echo", "echo , ;:x,", Some("x,")),
        ("echo", "echo\u{a0}hello", Some("hello")),
        ("echo", "echohello", None),
        ("echo", "echo.hello", None),
        ("echo", "echo\0", None),
        ("echo", "ech", None),
        ("echo", "", None),
        ("echo", " \n", None),
        ("ECHO", "echo hello", Some("hello")),
        // A combining mark belongs to the letter before it: this is another word.
        ("echo", "echo\u{301} hello", None),
        ("kilo", "\u{212a}ilo x", Some("x")),
        ("ping", "p\u{131}ng x", None),
        ("ping", "P\u{130}NG x", None),
        ("stra\u{df}e", "STRA\u{1e9e}E 5", Some("5")),
        ("stra\u{df}e", "STRASSE 5", None),
        ("two words", "two words", Some("")),
        (" two  words ", "two\n\twords, x", Some("x")),
        ("two words", "two", None),
        ("two words", "twowords", None),
        ("two words", "two, words", None),
        ("#", "#, 5", Some("5")),
        (".*", "anything", None),
        ("a:", "a: x", Some("x")),
        ("a:", "a:x", None),
        ("", "x", None),
        (" ", " x", None),
    ];
    for (keyword, text, expected) in cases {
        assert_eq!(after_keyword(text, keyword), expected, "keyword {keyword:?}, text {text:?}");
    }
}

#[test]
fn of_several_keywords_the_longest_counts() {
    for keyword in ["two|two words", "two words|two"] {
        let mut apps = Apps::new().with("handlers", Handlers::new().keyword(Says::new(keyword)));
        assert_eq!(replies(&mut apps, "two words here"), [format!("{keyword}: here")]);
        assert_eq!(replies(&mut apps, "two here"), [format!("{keyword}: here")]);
    }
}

#[test]
fn trailing_blanks_are_passed_on() {
    assert_eq!(replies(&mut Apps::new().with("echo", Echo), "echo hello \n"), ["hello \n"]);
    assert_eq!(
        replies(&mut Apps::new().with("registration", registration()), "join Ada \n"),
        ["Thank you for registering, Ada!"]
    );
}

/// A list that names both `handlers` and `echo` must not answer twice, and in the daemon `handlers` is empty.
#[test]
fn handlers_and_echo_together_answer_once() {
    let mut apps =
        Apps::new().with("handlers", Handlers::new()).with("echo", Echo).with("default", fallback());
    assert_eq!(replies(&mut apps, "echo hello"), ["hello"]);
    assert_eq!(replies(&mut apps, "ping"), ["pong"]);
    assert_eq!(replies(&mut everything(), "echo hello"), ["hello"]);
}

#[test]
fn a_handler_that_fails_is_named_and_costs_only_its_own_replies() {
    let outcome = ask(&mut everything(), "broken thing", None);
    assert_eq!(
        outcome.failures,
        [
            "app handlers failed: the handler of the keyword broken: invalid digit found in string (phase handle)"
        ]
    );
    assert_eq!(texts(&outcome), ["Sorry, RapidSMS could not understand your message."]);
}

#[test]
fn a_blank_keyword_is_reported_at_the_start() {
    for keyword in ["", " ", "register||join", "join|"] {
        let mut apps = Apps::new().with("mine", Handlers::new().keyword(Says::new(keyword)));
        let failures = apps.start(&Host::new(Arc::new(Nobody)));
        assert_eq!(failures.len(), 1, "keyword {keyword:?}");
        let expected = format!("the keyword \"{keyword}\" is blank");
        assert!(failures[0].starts_with("app mine") && failures[0].contains(&expected), "{failures:?}");
        assert_eq!(replies(&mut apps, "anything"), [] as [&str; 0]);
    }
    assert_eq!(everything().start(&Host::new(Arc::new(Nobody))), [] as [&str; 0]);
}

#[test]
fn a_pattern_that_is_none_is_refused_with_the_place() {
    let why = Handlers::new().pattern(Fits("(\\d+")).err().expect("the group is not closed");
    assert_eq!(why.pattern, "(\\d+");
    let text = why.to_string();
    assert!(text.contains("unclosed group") && text.contains('^'), "{text}");
    assert!(Handlers::new().pattern(Fits("a(?=b)")).is_err(), "look-around is not in the syntax");
}

#[test]
fn a_pattern_sees_the_text_untrimmed() {
    let mut apps = Apps::new().with("handlers", Handlers::new().pattern(Fits("yes( .*)?$")).unwrap());
    assert_eq!(replies(&mut apps, "YES"), ["pattern: -"]);
    assert_eq!(replies(&mut apps, "yes  well "), ["pattern:   well "]);
    assert_eq!(replies(&mut apps, " yes"), [] as [&str; 0]);
    assert_eq!(replies(&mut apps, "yes\n"), [] as [&str; 0]);
    // A later match is none: the start counts.
    assert_eq!(replies(&mut apps, "oh yes"), [] as [&str; 0]);
}

#[test]
fn numbers() {
    assert_eq!(number::<u8>("255"), Ok(255));
    assert_eq!(number::<u8>("\n 7 \u{a0}"), Ok(7));
    assert_eq!(number::<i64>("-12"), Ok(-12));
    assert_eq!(number::<u32>("१२३"), Ok(123));
    assert_eq!(number::<u32>("４２"), Ok(42));
    assert_eq!(number::<f64>("1.5"), Ok(1.5));
    for (text, quoted) in [("256", "256"), (" x ", "x"), ("", ""), ("1 2", "1 2"), ("½", "½"), ("%d", "%d")]
    {
        assert_eq!(
            number::<u8>(text),
            Err(HandlerError::Reply(format!("Not a valid number: {quoted}"))),
            "{text:?}"
        );
    }
    let long = number::<u8>(&"é".repeat(TEXT_LIMIT / 2));
    assert_eq!(long, Err(HandlerError::Reply(format!("Not a valid number: {}...", "é".repeat(40)))));
}

#[test]
fn the_default_response_is_filled_in_once() {
    let cases = [
        (Some(DEFAULT_RESPONSE), "Clinics", Some("Sorry, Clinics could not understand your message.")),
        (Some("%(project_name)s%(project_name)s"), "ab", Some("abab")),
        (Some("100%% %%(project_name)s"), "x", Some("100% %(project_name)s")),
        // What is filled in is not read again.
        (Some("%(project_name)s"), "100%d %(project_name)s %%", Some("100%d %(project_name)s %%")),
        (Some("no place"), "x", Some("no place")),
        (Some(""), "x", None),
        (Some(" \n"), "x", None),
        (None, "x", None),
    ];
    for (response, project_name, expected) in cases {
        let app = Fallback::new(response, project_name).unwrap();
        assert_eq!(app.reply(), expected, "{response:?}");
        let outcome = ask(&mut Apps::new().with("default", app), "100% %(project_name)s", None);
        assert_eq!(texts(&outcome), Vec::from_iter(expected));
        let actor = if expected.is_some() { "app default (default)" } else { "router" };
        assert_eq!(outcome.ending.actor, actor);
    }
}

#[test]
fn a_wrong_default_response_is_refused_with_the_place_and_a_hint() {
    let cases = [
        ("Hi %(name)s!", 3, "%(name)s"),
        ("Hi %(project_name)d", 3, "%(project_name)d"),
        ("Hi %(Project_Name)s", 3, "%(Project_Name)s"),
        ("é 100%", 6, "%"),
        ("100% sure", 3, "% "),
        ("%%%", 2, "%"),
        ("%s", 0, "%s"),
        ("%(", 0, "%("),
        ("%(é", 0, "%("),
        ("%(name)", 0, "%(name)"),
    ];
    for (response, offset, found) in cases {
        let why = Fallback::new(Some(response), "x").err();
        assert_eq!(why, Some(TemplateError { offset, found: found.to_string() }), "{response:?}");
    }
    let why = Fallback::new(Some("100% sure"), "x").unwrap_err().to_string();
    assert_eq!(why, "\"% \" in the default response means nothing: write %% for a per cent sign");
    let why = Fallback::new(Some("%(name)s"), "x").unwrap_err().to_string();
    assert!(why.contains("only %(project_name)s can be filled in"), "{why}");
    let long = Fallback::new(Some(&format!("%({})s", "x".repeat(TEXT_LIMIT))), "x").unwrap_err();
    assert_eq!(long.found.len(), 40);
}

#[test]
fn registering_changes_the_contact() {
    let mut apps = Apps::new().with("registration", registration());
    let outcome = ask(&mut apps, "join Ada", None);
    let register = |name: &str, language: &str| ContactChange::Register {
        name: name.to_string(),
        language: language.to_string(),
    };
    assert_eq!(outcome.changes, [register("Ada", "")]);
    let known = Some(Contact { id: 7, name: "Ada".to_string(), language: String::new() });
    let outcome = ask(&mut apps, "language ENGLISH", known);
    assert_eq!(outcome.changes, [ContactChange::Language("en".to_string())]);
    // Their language goes with them to the new contact.
    let known = Some(Contact { id: 7, name: "Ada".to_string(), language: "en".to_string() });
    assert_eq!(ask(&mut apps, "reg Ada L.", known.clone()).changes, [register("Ada L.", "en")]);
    for text in ["join", "join ,", "join \0", "language", "language \u{7}", "language klingon", "register\n"]
    {
        assert_eq!(ask(&mut apps, text, known.clone()).changes, [], "{text:?}");
    }
    let longest = "é".repeat(NAME_LIMIT);
    assert_eq!(ask(&mut apps, &format!("join {longest}"), None).changes, [register(&longest, "")]);
    assert_eq!(ask(&mut apps, &format!("join {longest}e"), None).changes, []);
}

#[test]
fn languages_that_cannot_be_told_apart_are_refused() {
    let wrong = [
        (vec![("", "English")], 0),
        (vec![("en", "English"), ("fr", " ")], 1),
        (vec![("en", "English"), ("EN", "Inglish")], 1),
        (vec![("en", "English"), ("fr", "ENGLISH")], 1),
        (vec![("en", "English"), ("fr", "French"), ("english", "x")], 2),
    ];
    for (languages, index) in wrong {
        let why = Registration::new(languages.clone()).err().map(|why| why.index);
        assert_eq!(why, Some(index), "{languages:?}");
    }
    assert!(Registration::new(LANGUAGES).is_ok(), "the languages in the box must pass the same test");
    assert!(Registration::new([] as [(&str, &str); 0]).is_ok());
}

/// Every text that ever hurt such a program, each of them as large as the router takes.
#[test]
fn hostile_texts_harm_nobody() {
    let large = |piece: &str| piece.repeat(TEXT_LIMIT / piece.len());
    let pieces = [
        " ",
        "\n",
        "\0",
        "\u{a0}",
        ",",
        "a",
        "%s",
        "echo ",
        "join ",
        "İ",
        "ı",
        "e\u{301}",
        "\u{202e}",
        "ش",
        "two ",
        "1 plus ",
        "9",
        "\u{10ffff}",
    ];
    let beginnings = ["", "echo ", "join ", "lang ", "add ", "two\n", "  ", "1 plus 1"];
    let mut apps = everything();
    for beginning in beginnings {
        for piece in pieces {
            let text = format!("{beginning}{}", large(piece));
            let outcome = ask(&mut apps, &text, Some(ada()));
            assert_eq!(outcome.failures, [] as [&str; 0], "{beginning:?} and a lot of {piece:?}");
            assert!(!outcome.drafts.is_empty(), "{beginning:?} and a lot of {piece:?}");
        }
    }
}

proptest! {
    /// Panics are contained by the phases, so they are looked for among the failures.
    #[test]
    fn no_text_makes_an_app_fail(text in texts_of_people()) {
        let outcome = ask(&mut everything(), &text, Some(ada()));
        prop_assert_eq!(outcome.failures, Vec::<String>::new());
        prop_assert_eq!(outcome.drafts.len(), 1);
    }

    /// The rule once more, written as a regular expression.
    #[test]
    fn keywords_match_as_the_rule_says(text in texts_of_people()) {
        for keyword in ["echo", "two words", "#"] {
            let words: Vec<String> = keyword.split(' ').map(regex::escape).collect();
            let rule = format!(r"(?is)\A\s*{}(?:\z|[\s,;:]+(.*)\z)", words.join(r"\s+"));
            let expected = regex::Regex::new(&rule).unwrap().captures(&text)
                .map(|captures| captures.get(1).map_or("", |rest| rest.as_str()));
            prop_assert_eq!(after_keyword(&text, keyword), expected);
        }
    }

    #[test]
    fn echo_gives_back_what_it_got(text in r"[^\s,;:](?s:.*)") {
        prop_assert_eq!(replies(&mut Apps::new().with("echo", Echo), &format!("echo {text}")), [text]);
    }

    /// No response, whatever is in it, makes the app panic; and one without `%` stays as it is.
    #[test]
    fn any_response_is_filled_in_or_refused(response in r"([%()s]|project_name|%%|\PC){0,12}") {
        match Fallback::new(Some(&response), "%x") {
            Ok(app) if !response.contains('%') => {
                let expected = Some(response.as_str()).filter(|text| !text.trim().is_empty());
                prop_assert_eq!(app.reply(), expected);
            }
            Ok(_) => {}
            Err(why) => prop_assert!(response[why.offset..].starts_with(&why.found)),
        }
    }
}

/// Texts that come near to what the apps understand.
fn texts_of_people() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "echo", "ECHO", "ping", "join", "language", "fr", "two", "words", "#", "add", "1", "plus",
            "clinic", "late", "hi",
        ])
        .prop_map(String::from),
        prop::sample::select(vec![" ", "\n", ",", ";", ":", "\0", "\u{a0}", "%", "\u{301}", "ı", "\u{212a}"])
            .prop_map(String::from),
        any::<String>(),
    ];
    // `late x` answers twice and would blur the count; it has its line in handlers.txt.
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat().replace("late", "ate"))
}

/// Every app in the box with handlers for every occasion.
fn everything() -> Apps {
    let handlers = Handlers::new()
        .keyword(Says::new("clinic|hospital"))
        .keyword(Says::new("two words"))
        .keyword(Says { keyword: "two", name: "two words" })
        .keyword(Says::new("#"))
        .keyword(Says::new("λόγος"))
        .keyword(Does("add", |message, text| {
            let total = text.split_whitespace().map(number::<i64>).try_fold(0i64, |total, term| {
                total.checked_add(term?).ok_or_else(|| HandlerError::reply("Too large"))
            })?;
            message.respond(total.to_string());
            Ok(())
        }))
        .keyword(Does("late", |message, text| {
            message.respond("first");
            Err(HandlerError::reply(format!("No such thing: {text}")))
        }))
        .keyword(Does("broken", |message, text| {
            message.respond("nobody sees this");
            let number: u8 = text.parse()?;
            message.respond(number.to_string());
            Ok(())
        }))
        .pattern(Fits(r"(\d+) plus (\d+)|minus (\d+)"))
        .and_then(|handlers| handlers.keyword(EchoHandler).pattern(PingHandler))
        .expect("these are patterns");
    Apps::new()
        .with("handlers", handlers)
        .with("echo", Echo)
        .with("registration", registration())
        .with("default", fallback())
}

/// Answers its name and the text.
struct Says {
    keyword: &'static str,
    name: &'static str,
}

impl Says {
    fn new(keyword: &'static str) -> Says {
        Says { keyword, name: if keyword == "clinic|hospital" { "clinic" } else { keyword } }
    }
}

impl KeywordHandler for Says {
    fn keyword(&self) -> &str {
        self.keyword
    }

    fn help(&mut self, message: &mut Message) -> Result<(), HandlerError> {
        message.respond(format!("{}?", self.name));
        Ok(())
    }

    fn handle(&mut self, message: &mut Message, text: &str) -> Result<(), HandlerError> {
        message.respond(format!("{}: {text}", self.name));
        Ok(())
    }
}

/// Does what it is told, with a keyword.
struct Does(&'static str, fn(&mut Message, &str) -> Result<(), HandlerError>);

impl KeywordHandler for Does {
    fn keyword(&self) -> &str {
        self.0
    }

    fn help(&mut self, message: &mut Message) -> Result<(), HandlerError> {
        message.respond(format!("{}?", self.0));
        Ok(())
    }

    fn handle(&mut self, message: &mut Message, text: &str) -> Result<(), HandlerError> {
        (self.1)(message, text)
    }
}

/// Answers what the groups of its pattern caught, `-` for one that took no part.
struct Fits(&'static str);

impl PatternHandler for Fits {
    fn pattern(&self) -> &str {
        self.0
    }

    fn handle(&mut self, message: &mut Message, groups: &[Option<&str>]) -> Result<(), HandlerError> {
        let groups: Vec<&str> = groups.iter().map(|group| group.unwrap_or("-")).collect();
        message.respond(format!("pattern: {}", groups.join(", ")));
        Ok(())
    }
}

struct Nobody;

impl Answers for Nobody {
    fn answer(&self, _id: MessageId, _app: &str, _answer: LateAnswer) {}
}

fn fallback() -> Fallback {
    Fallback::new(Some(DEFAULT_RESPONSE), "RapidSMS").expect("the response in the box is right")
}

fn registration() -> Registration {
    Registration::new([("en", "English"), ("fr", "French"), ("pt-br", "Brazilian Portuguese")])
        .expect("these can be told apart")
}

fn ada() -> Contact {
    Contact { id: 1, name: "Ada".to_string(), language: "en".to_string() }
}

/// Runs the phases over one text; none of the apps in the box asks for time.
fn ask(apps: &mut Apps, text: &str, contact: Option<Contact>) -> Outcome {
    let unfinished = Unfinished {
        id: MessageId::from_parts(1, 1),
        connection: Connection::new("script", "1"),
        text: text.to_string(),
        received_at: Timestamp::from_seconds(0),
        source_time: None,
        attempt: 1,
        redelivered: false,
        partial: false,
        origin: Origin::Test,
        contact,
    };
    match run(apps, unfinished) {
        Progress::Finished(outcome) => outcome,
        Progress::Waiting(run) => panic!("{} asked for time", run.waits_for(apps)),
    }
}

fn texts(outcome: &Outcome) -> Vec<&str> {
    outcome.drafts.iter().map(|(_, draft)| draft.text.as_str()).collect()
}

fn replies(apps: &mut Apps, text: &str) -> Vec<String> {
    ask(apps, text, None).drafts.into_iter().map(|(_, draft)| draft.text).collect()
}

/// Plays a transcript. A contact that an app registers is known to it from the next message on.
fn play(script: &str, apps: Apps) {
    let path = format!("{}/tests/scripts/{script}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
    let lines = TestScript::parse(script, &text).and_then(|script| script.run(&mut TestRouter::new(apps)));
    match lines {
        Ok(lines) => assert!(lines > 0, "{script} asks nothing"),
        Err(failure) => panic!("tests/scripts/{failure}"),
    }
}
