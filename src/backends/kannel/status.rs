//! What Kannel's status page tells: `status.xml` of its admin port to a sentence for people.
//!
//! The page comes from outside: it is read as a stream of tags and texts, no entity is expanded, nesting, links and words are bounded, and whatever is
//! wrong with it is a sentence. It never decides whether messages are sent; the answers to them do.

use quick_xml::Reader;
use quick_xml::events::Event;

/// So deep is nothing that is looked at.
const DEEPEST: usize = 16;
/// So many links are kept.
const MOST_LINKS: usize = 1_000;
/// So many links are named in the sentence.
const NAMED: usize = 4;
/// The longest word that is kept.
const LONGEST: usize = 100;

/// How a Kannel is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// `1.4.5`; empty when it does not say.
    pub version: String,
    /// `running`, `suspended`, ...
    pub state: String,
    /// Its links, in its order.
    pub links: Vec<Link>,
}

/// One link of Kannel to a carrier.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Its smsc-id.
    pub id: String,
    /// Its own name, where several share an smsc-id.
    pub admin_id: String,
    /// `online 120s`, `re-connecting`, `dead`, ...
    pub state: String,
}

impl Standing {
    /// Reads the page. The error is a sentence.
    pub fn read(page: &str) -> Result<Standing, String> {
        let words = page.trim();
        if words.eq_ignore_ascii_case("denied") {
            return Err("it denies the status page: check status_password".into());
        }
        let mut standing = Standing::default();
        let mut reader = Reader::from_str(words);
        let mut path: Vec<String> = Vec::new();
        let mut begun = false;
        loop {
            match reader.read_event() {
                Err(error) => return Err(format!("its status page is no XML: {error}")),
                Ok(Event::Start(tag)) => {
                    if path.len() == DEEPEST {
                        return Err("its status page is nested too deep".into());
                    }
                    path.push(String::from_utf8_lossy(tag.name().as_ref()).into_owned());
                    let named: Vec<&str> = path.iter().map(String::as_str).collect();
                    begun |= named == ["gateway"];
                    if named == ["gateway", "smscs", "smsc"] && standing.links.len() < MOST_LINKS {
                        standing.links.push(Link::default());
                    }
                }
                Ok(Event::End(_)) => {
                    path.pop();
                }
                Ok(Event::Text(text)) => standing.hear(&path, &String::from_utf8_lossy(&text)),
                Ok(Event::Eof) => break,
                Ok(_) => {}
            }
        }
        if begun { Ok(standing) } else { Err("what is at status_url is no status page of a Kannel".into()) }
    }

    fn hear(&mut self, path: &[String], text: &str) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let place = match (path.as_slice(), self.links.last_mut()) {
            (["gateway", "version"], _) => {
                // Kannel bearerbox version `1.4.5'. Build ...
                let version = text.split(['`', '\'']).nth(1).unwrap_or_default();
                return keep(&mut self.version, version);
            }
            (["gateway", "status"], _) => {
                return keep(&mut self.state, text.split(',').next().unwrap_or_default());
            }
            (["gateway", "smscs", "smsc", "id"], Some(link)) => &mut link.id,
            (["gateway", "smscs", "smsc", "admin-id"], Some(link)) => &mut link.admin_id,
            (["gateway", "smscs", "smsc", "status"], Some(link)) => &mut link.state,
            _ => return,
        };
        keep(place, text);
    }

    /// In one sentence; of the links those of this smsc-id only, when messages name one.
    pub fn sentence(&self, smsc: Option<&str>) -> String {
        let mut sentence = "Kannel".to_string();
        for word in [&self.version, &self.state] {
            if !word.is_empty() {
                sentence.push(' ');
                sentence.push_str(word);
            }
        }
        let ours =
            |link: &&Link| smsc.is_none_or(|smsc| [&link.id, &link.admin_id].iter().any(|id| *id == smsc));
        let links: Vec<&Link> = self.links.iter().filter(ours).collect();
        if links.is_empty() {
            return match smsc {
                Some(smsc) => format!("{sentence}: it has no smsc {smsc}, which sendsms_params names"),
                None => format!("{sentence}: it has no smsc"),
            };
        }
        let named = links.iter().take(NAMED).map(|link| {
            let id = if link.id.is_empty() { "without id" } else { &link.id };
            let state = if link.state.is_empty() { "in an unknown state" } else { &link.state };
            format!("smsc {id} {state}")
        });
        let mut named = named.collect::<Vec<_>>().join(", ");
        if links.len() > NAMED {
            named.push_str(&format!(" and {} more", links.len() - NAMED));
        }
        format!("{sentence}: {named}")
    }
}

/// Keeps the first words that are there, on one line.
fn keep(place: &mut String, text: &str) {
    if place.is_empty() {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        *place = line.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../tests/kannel/status.xml");

    #[test]
    fn a_page_becomes_a_sentence() {
        let standing = Standing::read(PAGE).unwrap();
        assert_eq!(standing.sentence(Some("FAKE")), "Kannel 1.4.5 running: smsc FAKE online 120s");
        assert_eq!(standing.sentence(Some("zain-1")), "Kannel 1.4.5 running: smsc zain re-connecting");
        assert_eq!(
            standing.sentence(None),
            "Kannel 1.4.5 running: smsc FAKE online 120s, smsc zain re-connecting"
        );
        assert_eq!(
            standing.sentence(Some("mtn")),
            "Kannel 1.4.5 running: it has no smsc mtn, which sendsms_params names"
        );
    }

    #[test]
    fn what_is_no_page_is_a_sentence_too() {
        for (page, part) in [
            ("Denied", "status_password"),
            ("", "no status page"),
            ("<html><body>It works</body></html>", "no status page"),
            ("<gateway><version>", "no smsc"),
            ("<gateway></smscs>", "no XML"),
        ] {
            let said = Standing::read(page).map_or_else(|why| why, |standing| standing.sentence(None));
            assert!(said.contains(part), "{page:?}: {said}");
        }
        let deep = "<a>".repeat(100_000);
        assert!(Standing::read(&deep).is_err());
        let bomb = "<!DOCTYPE g [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><gateway><status>&b;</status></gateway>";
        let standing = Standing::read(bomb).unwrap();
        assert_eq!(standing.state, "", "an entity stays closed");
    }
}
