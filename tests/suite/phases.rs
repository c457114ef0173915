//! The phases. `tests/phases/rules.txt` has the cases and explains how to read them; here is the app that does what a case says.

use rapidsms::apps::{App, AppError, Flow, LateAnswer, Message};
use rapidsms::message::{Connection, Contact, Draft, MessageId, Origin, Priority};
use rapidsms::phases::{Apps, DRAFT_LIMIT, Outcome, Phase, Progress, outgoing, run};
use rapidsms::store::{ContactChange, Unfinished};
use rapidsms::time::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

const RULES: &str = include_str!("../phases/rules.txt");

/// One case as it is written.
#[derive(Default)]
struct Case {
    title: String,
    line: usize,
    text: String,
    apps: Vec<(String, Vec<(String, Vec<String>)>)>,
    /// Late answers and time-outs, in order.
    answers: Vec<(String, Option<Vec<String>>)>,
    /// The lines that tell what is to come of it.
    expected: Vec<String>,
}

#[test]
fn rules() {
    let cases = read(RULES);
    assert!(cases.len() > 25, "the cases are not read");
    for case in cases {
        let got = play(&case);
        let missing: Vec<_> = case.expected.iter().filter(|line| !got.contains(line)).collect();
        let kind = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
        // `sees` is told by every app and expected where it matters; of everything else nothing may be left over.
        let surplus: Vec<_> =
            got.iter().filter(|line| kind(line) != "sees" && !case.expected.contains(line)).collect();
        let place = format!("tests/phases/rules.txt:{}: {}", case.line, case.title);
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "{place}\n  expected {missing:#?}\n  got {surplus:#?}"
        );
        for ordered in ["reply", "change", "failure"] {
            let of = |lines: &[String]| {
                lines.iter().filter(|line| kind(line) == ordered).cloned().collect::<Vec<_>>()
            };
            assert_eq!(of(&case.expected), of(&got), "{place}");
        }
    }
}

fn read(rules: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in rules.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if let Some(title) = line.strip_prefix("== ").filter(|title| !title.contains("begins a case")) {
            cases.push(Case { title: title.into(), line: number, text: "hello".into(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut().filter(|_| !line.is_empty()) else { continue };
        let expectations = ["calls ", "reply ", "sees ", "ends ", "failure ", "change "];
        if let Some(text) = line.strip_prefix("text ") {
            case.text = text.into();
        } else if expectations.iter().any(|word| line.starts_with(word)) {
            case.expected.push(line.into());
        } else if let Some(app) = line.strip_suffix(" is given up") {
            case.answers.push((app.into(), None));
        } else {
            let (head, actions) =
                line.split_once(':').unwrap_or_else(|| panic!("rules.txt:{number}: {line}"));
            let (app, phase) = head.split_once(' ').unwrap_or_else(|| panic!("rules.txt:{number}: {line}"));
            let actions: Vec<_> = actions.split(';').map(|action| action.trim().to_string()).collect();
            if phase == "answers" {
                case.answers.push((app.into(), Some(actions)));
                continue;
            }
            let known = ["filter", "parse", "handle", "default", "cleanup"];
            assert!(known.contains(&phase), "rules.txt:{number}: no phase is named {phase}");
            match case.apps.iter_mut().find(|(name, _)| name == app) {
                Some((_, phases)) => phases.push((phase.into(), actions)),
                None => case.apps.push((app.into(), vec![(phase.into(), actions)])),
            }
        }
    }
    cases
}

/// Runs a case and tells what came of it in the words of the file.
fn play(case: &Case) -> Vec<String> {
    let journal = Arc::new(Mutex::new(Journal::default()));
    let mut apps = Apps::new();
    for (name, phases) in &case.apps {
        let app = Scripted { name: name.clone(), phases: phases.clone(), journal: journal.clone() };
        apps.push(name.clone(), Box::new(app));
    }
    let mut progress = run(&mut apps, unfinished(&case.text, None));
    for (app, answer) in &case.answers {
        let Progress::Waiting(run) = progress else {
            panic!("rules.txt:{}: nobody waits for {app}", case.line)
        };
        assert_eq!(run.waits_for(&apps), app, "rules.txt:{}", case.line);
        progress = match answer {
            Some(actions) => run.answered(&mut apps, late(actions)),
            None => run.gave_up(&mut apps, "timed out"),
        };
    }
    let Progress::Finished(outcome) = progress else {
        panic!("rules.txt:{}: an answer is owed at the end", case.line)
    };
    let journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lines = vec![format!("calls {}", journal.calls)];
    lines.extend(journal.sees.iter().cloned());
    lines.extend(told(outcome));
    lines
}

fn told(outcome: Outcome) -> Vec<String> {
    let mut lines: Vec<_> =
        outcome.drafts.iter().map(|(app, draft)| format!("reply {app} {}", draft.text)).collect();
    lines.extend(outcome.changes.iter().map(|change| match change {
        ContactChange::Register { name, .. } => format!("change register {name}"),
        ContactChange::Language(code) => format!("change language {code}"),
        ContactChange::Join(id) => format!("change join {id}"),
    }));
    lines.extend(outcome.failures.iter().map(|failure| format!("failure {failure}")));
    let ending = outcome.ending;
    // `app a (handle)` in the history, `a handle` in the file.
    let by = ending.actor.trim_start_matches("app ").replace(['(', ')'], "");
    let reason = ending.reason.map_or(String::new(), |reason| format!(" ({reason})"));
    lines.push(format!("ends {} {by}{reason}", ending.state));
    lines
}

fn late(actions: &[String]) -> LateAnswer {
    let mut answer = LateAnswer::default();
    for action in actions {
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        match verb {
            "reply" => answer.replies.push(rest.into()),
            "text" => answer.text = Some(rest.into()),
            "done" => answer.done = true,
            "last" => answer.last = true,
            "fail" => answer.error = Some(format!("failed: {rest}")),
            "" => {}
            _ => panic!("no late answer can {action}"),
        }
    }
    answer
}

#[derive(Default)]
struct Journal {
    /// `filter a b | parse a b`.
    calls: String,
    phase: String,
    sees: Vec<String>,
}

/// Does in each phase what the case says.
struct Scripted {
    name: String,
    phases: Vec<(String, Vec<String>)>,
    journal: Arc<Mutex<Journal>>,
}

impl Scripted {
    fn act(&self, phase: &str, message: &mut Message) -> Result<Flow, AppError> {
        {
            let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            if journal.phase != phase {
                let bar = if journal.calls.is_empty() { "" } else { " | " };
                journal.calls += &format!("{bar}{phase}");
                journal.phase = phase.into();
            }
            journal.calls += &format!(" {}", self.name);
            if phase == "handle" {
                let sees = format!("sees {} {} / {}", self.name, message.text(), message.raw_text());
                journal.sees.push(sees);
            }
        }
        let mut flow = Flow::Next;
        for action in self.phases.iter().filter(|(of, _)| of == phase).flat_map(|(_, actions)| actions) {
            let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
            match verb {
                "reply" => {
                    message.respond(rest);
                }
                "error" => {
                    message.error(rest);
                }
                "send" => {
                    message.send(Connection::new("two", "2"), rest);
                }
                "text" => message.set_text(rest),
                "join" => message.register(rest),
                "language" => message.set_language(rest),
                "done" => flow = Flow::Done,
                "later" => flow = Flow::Later,
                "fail" => return Err(AppError(rest.into())),
                // As a panic, but nothing is printed about it.
                "panic" => std::panic::resume_unwind(Box::new(rest.to_string())),
                "" => {}
                _ => panic!("no app can {action}"),
            }
        }
        Ok(flow)
    }
}

impl App for Scripted {
    fn filter(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        self.act("filter", message)
    }

    fn parse(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        self.act("parse", message)
    }

    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        self.act("handle", message)
    }

    fn fallback(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        self.act("default", message)
    }

    fn cleanup(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        self.act("cleanup", message)
    }
}

fn unfinished(text: &str, contact: Option<Contact>) -> Unfinished {
    Unfinished {
        id: MessageId::from_parts(9, 9),
        connection: Connection::new("one", "1"),
        text: text.to_string(),
        received_at: Timestamp::from_seconds(0),
        source_time: None,
        attempt: 1,
        redelivered: false,
        partial: false,
        origin: Origin::Real,
        contact,
    }
}

/// What a draft carries besides its text.
#[test]
fn replies_know_what_they_answer() {
    let journal = Arc::default();
    let phases = vec![("handle".to_string(), vec!["reply one".to_string(), "send two".to_string()])];
    let mut apps = Apps::new().with("a", Scripted { name: "a".into(), phases, journal });
    let mut test = unfinished("hello", None);
    test.origin = Origin::Test;
    let Progress::Finished(outcome) = run(&mut apps, test) else { panic!("nobody asked for time") };
    let (reply, other) = (&outcome.drafts[0].1, &outcome.drafts[1].1);
    assert_eq!((&*reply.connection.identity, reply.priority), ("1", Priority::Reply));
    assert_eq!((&*other.connection.backend, other.priority), ("two", Priority::Single));
    for draft in [reply, other] {
        assert_eq!(draft.in_response_to, Some(MessageId::from_parts(9, 9)));
        assert_eq!(draft.origin, Origin::Test, "what comes of test traffic is test traffic");
    }
}

/// A late answer cannot declare its messages real.
#[test]
fn late_answers_inherit_the_origin() {
    let phases = vec![("handle".to_string(), vec!["later".to_string()])];
    let mut apps = Apps::new().with("a", Scripted { name: "a".into(), phases, journal: Arc::default() });
    let mut test = unfinished("hello", None);
    test.origin = Origin::Test;
    let Progress::Waiting(waiting) = run(&mut apps, test) else { panic!("it asked for time") };
    let drafts = vec![Draft::new(Connection::new("two", "2"), "news")];
    let answer = LateAnswer { drafts, ..LateAnswer::default() };
    let Progress::Finished(outcome) = waiting.answered(&mut apps, answer) else { panic!("it answered") };
    assert_eq!(outcome.drafts[0].1.origin, Origin::Test);
    assert_eq!(outcome.drafts[0].1.in_response_to, Some(MessageId::from_parts(9, 9)));
}

/// One message cannot make an unbounded number of others, now or later.
#[test]
fn the_messages_of_one_message_are_bounded() {
    let too_many = vec!["reply x".to_string(); DRAFT_LIMIT + 1];
    let exactly = vec!["reply x".to_string(); DRAFT_LIMIT];
    let mut later = too_many.clone();
    later.push("later".into());
    for (actions, expected) in [(exactly, DRAFT_LIMIT), (too_many, 0), (later, 0)] {
        let phases = vec![("handle".to_string(), actions)];
        let mut apps = Apps::new()
            .with("a", Scripted { name: "a".into(), phases, journal: Arc::default() })
            .with("b", Scripted { name: "b".into(), phases: Vec::new(), journal: Arc::default() });
        let Progress::Finished(outcome) = run(&mut apps, unfinished("hello", None)) else {
            panic!("an app over the limit has no time to ask for")
        };
        assert_eq!(outcome.drafts.len(), expected);
        let failures = ["app a made more than 1000 messages of one (phase handle)"];
        assert_eq!(outcome.failures, failures[..usize::from(expected == 0)]);
    }
}

/// Outgoing: changes text, cancels, fails.
struct Leaving(&'static str, fn(&mut Draft) -> Result<(), AppError>);

impl App for Leaving {
    fn outgoing(&mut self, draft: &mut Draft) -> Result<(), AppError> {
        draft.text.push_str(self.0);
        (self.1)(draft)
    }
}

/// The apps see what leaves in reverse order; the first that cancels it ends the phase, and failures hold nobody back.
#[test]
fn the_outgoing_phase() {
    let leaves = |apps: Vec<Leaving>| {
        let mut all = Apps::new();
        apps.into_iter().for_each(|app| all.push(app.0, Box::new(app)));
        let mut draft = Draft::new(Connection::new("one", "1"), "");
        let failures = outgoing(&mut all, &mut draft);
        (draft.text, draft.cancelled, failures)
    };
    let on: fn(&mut Draft) -> Result<(), AppError> = |_| Ok(());
    assert_eq!(
        leaves(vec![Leaving("a", on), Leaving("b", on), Leaving("c", on)]),
        ("cba".into(), None, vec![])
    );
    let cancels: fn(&mut Draft) -> Result<(), AppError> = |draft| {
        draft.cancel("not on Sundays");
        Ok(())
    };
    let got = leaves(vec![Leaving("a", on), Leaving("b", cancels), Leaving("c", on)]);
    assert_eq!(got, ("cb".into(), Some("not on Sundays".into()), vec![]));
    let silent: fn(&mut Draft) -> Result<(), AppError> = |draft| {
        draft.cancel("");
        Ok(())
    };
    let got = leaves(vec![Leaving("a", silent)]);
    assert_eq!(got.1.as_deref(), Some("app a cancelled it"), "whoever looks for the message learns why");
    let fails: fn(&mut Draft) -> Result<(), AppError> = |_| Err(AppError("it".into()));
    let panics: fn(&mut Draft) -> Result<(), AppError> = |_| std::panic::resume_unwind(Box::new("oh"));
    let got = leaves(vec![Leaving("a", on), Leaving("b", fails), Leaving("c", panics)]);
    let failures = ["app c panicked: oh (phase outgoing)", "app b failed: it (phase outgoing)"];
    assert_eq!((got.0.as_str(), got.1, got.2), ("cba", None, failures.map(String::from).to_vec()));
}

/// The names of the phases in logs, as the old documents have them.
#[test]
fn names() {
    let phases = [Phase::Filter, Phase::Parse, Phase::Handle, Phase::Fallback, Phase::Cleanup];
    assert_eq!(phases.map(Phase::as_str), ["filter", "parse", "handle", "default", "cleanup"]);
    assert!(phases.is_sorted());
}
