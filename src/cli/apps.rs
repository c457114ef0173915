//! `rapidsms apps`: which apps there are, and what they would answer.

use super::arguments::{Apps, AppsCommand, Output, Try};
use super::print::{Out, Table, columns, say, shown};
use super::{Ended, Exit, Failure, Place, script, send};
use crate::message::{Connection, Direction, Incoming, State};
use crate::settings::AppSettings;
use crate::store::Query;
use crate::testing::BACKEND;
use serde_json::{Value, json};

/// The word for all installed apps together, in their order.
const ALL: &str = "all";

/// Lists the apps or tries some.
pub(super) fn run(place: &Place, wanted: &Apps) -> Ended {
    match &wanted.what {
        None => list(place, &wanted.output),
        Some(AppsCommand::List(output)) => list(place, &Output { json: output.json || wanted.output.json }),
        Some(AppsCommand::Try(wanted)) => try_text(place, wanted),
    }
}

fn list(place: &Place, output: &Output) -> Ended {
    let settings = place.settings()?;
    let catalogue = place.registry.catalogue();
    let about = |app: &AppSettings| match (app.host, app.built) {
        (_, false) => "not in this build, left out".to_string(),
        (Some(host), true) => format!("an app of your own, in {host}"),
        (None, true) => catalogue.app(&app.name).map_or(String::new(), |spec| spec.about.to_string()),
    };
    let mut out = Out::new();
    if output.json {
        let each = settings.installed_apps.iter().map(|app| {
            json!({ "name": app.name, "given_name": app.given_name, "engine": app.host, "built": app.built, "about": about(app) })
        });
        out.json(&each.collect::<Vec<Value>>())?;
    } else if settings.installed_apps.is_empty() {
        say("no app is installed; for example: INSTALLED_APPS = [\"handlers\", \"echo\", \"default\"]");
    } else {
        let mut table = Table::new(&["NAME", "ABOUT"]);
        for app in &settings.installed_apps {
            table.row(&[&app.name, &about(app)]);
        }
        for line in table.lines(columns()) {
            out.line(line)?;
        }
    }
    out.end()?;
    Ok(Exit::Ok)
}

fn try_text(place: &Place, wanted: &Try) -> Ended {
    let text = send::text(&wanted.text)?;
    let mut settings = place.settings()?;
    let catalogue = place.registry.catalogue();
    let meant = catalogue.app(&wanted.name).map_or(wanted.name.as_str(), |spec| spec.name);
    let named = |app: &AppSettings| app.name == meant || app.given_name == wanted.name;
    match settings.installed_apps.iter().find(|app| named(app)) {
        Some(app) if !app.built => {
            return Err(Failure::failed(format!("the app {} is not in this build", app.name)));
        }
        Some(app) => settings.installed_apps = vec![app.clone()],
        None if wanted.name == ALL => {}
        None => {
            let names: Vec<&str> = settings.installed_apps.iter().map(|app| app.name.as_str()).collect();
            let sentence = format!("no app named \"{}\" is installed", wanted.name.escape_debug());
            return Err(Failure::failed(sentence).hint(format!("installed: {}; or all", names.join(", "))));
        }
    }
    let tester = settings.backends.iter().find(|backend| backend.tester && backend.name == BACKEND);
    let tester = tester.or_else(|| settings.backends.iter().find(|backend| backend.tester));
    let backend = tester.map_or(BACKEND, |backend| &backend.name).to_string();
    let mut router = script::router(&settings, &place.registry)?;
    let incoming = Incoming::new(Connection::new(backend.as_str(), wanted.identity.as_str()), text);
    let replies = router
        .receive(incoming)
        .map_err(|refused| Failure::failed(format!("the router would refuse this: {refused}")))?;
    let query = Query { direction: Some(Direction::In), limit: 1, ..Query::default() };
    let handled = router.router().store().reader()?.messages(&query)?.messages.pop();
    let failed = handled.as_ref().is_some_and(|row| row.state == State::Failed);
    let reason = handled.and_then(|row| row.reason);
    let mut out = Out::new();
    if wanted.output.json {
        let replies = replies.iter().map(|reply| {
            json!({ "backend": reply.connection.backend, "identity": reply.connection.identity, "text": reply.text })
        });
        out.json(&json!({ "failed": failed, "reason": reason, "replies": replies.collect::<Vec<Value>>() }))?;
    } else {
        for reply in &replies {
            // To somebody else, or elsewhere: said, as in a conversation script.
            let to = &reply.connection;
            let elsewhere = *to.backend != *backend || *to.identity != *wanted.identity;
            let to = if elsewhere { format!("{}/{} < ", to.backend, to.identity) } else { String::new() };
            out.line(shown(&format!("{to}{}", reply.text)))?;
        }
    }
    out.end()?;
    match (failed, reason) {
        (true, reason) => {
            Err(Failure::failed(reason.unwrap_or_else(|| "the message was not handled".into())))
        }
        (false, _) => {
            if replies.is_empty() && !wanted.output.json {
                say("no answer");
            }
            Ok(Exit::Ok)
        }
    }
}
