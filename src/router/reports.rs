//! Reports: what carriers tell later about messages that were sent (TS 23.040, 9.2.3.15, for the parts of a short message). A message is delivered
//! when each of its parts is, and failed as soon as one of them is.

use super::{Refused, Router};
use crate::message::{About, MessageId, News, Report, State, Verdict};
use crate::store::{Named, Settlement};
use crate::time::Timestamp;

impl Router {
    /// A carrier tells what became of a message that was sent earlier. A report about a message that nobody knows is
    /// counted and otherwise ignored, and so is one about a message that left by another backend. Safe after the next successful `commit`.
    pub fn report(&mut self, report: &Report, now: Timestamp) -> Result<(), Refused> {
        self.may_write(now)?;
        let actor = format!("report {}", report.backend);
        match &report.about {
            About::Id(id) => {
                let backend = self.store.backend_of(*id);
                match self.written(backend)? {
                    None => self.report_of_nothing(&report.backend),
                    Some(backend) if backend != report.backend => {
                        let note =
                            format!("ignored a report by backend {}: it goes by {backend}", report.backend);
                        let noted = self.store.note(*id, "router", &note, now);
                        self.written(noted)?;
                    }
                    Some(_) => self.report_whole(*id, report, &actor, now)?,
                }
            }
            About::Remote(name) => {
                let named = self.store.named(&report.backend, name);
                match self.written(named)? {
                    None => self.report_of_nothing(&report.backend),
                    Some(named) => self.report_part(named, report, &actor, now)?,
                }
            }
        }
        Ok(())
    }

    fn report_of_nothing(&mut self, backend: &str) {
        self.counters.unknown_reports += 1;
        log::warn!("backend {backend} reports about a message that is not known here, or known no more");
    }

    fn report_part(
        &mut self,
        named: Named,
        report: &Report,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let Named { id, part, parts } = named;
        let mut under_way = 0;
        if report.verdict == Verdict::Delivered {
            let arrived = self.store.arrived(id, part);
            under_way = self.written(arrived)?;
        }
        let which =
            |what: &str| format!("part {part} of {parts}: {}", report.note.as_deref().unwrap_or(what));
        match report.verdict {
            Verdict::Failed if parts > 1 => {
                let note = Some(which("the carrier could not deliver it"));
                self.report_whole(id, &Report { note, ..report.clone() }, actor, now)
            }
            Verdict::Delivered if under_way > 0 => self.write_note(id, actor, &which("delivered"), now),
            Verdict::Underway if parts > 1 => self.write_note(id, actor, &which("underway"), now),
            _ => self.report_whole(id, report, actor, now),
        }
    }

    fn report_whole(
        &mut self,
        id: MessageId,
        report: &Report,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let (state, news) = match report.verdict {
            Verdict::Delivered => (State::Delivered, News::Delivered),
            Verdict::Failed => (State::Failed, News::Failed),
            Verdict::Underway => {
                self.write_note(id, actor, report.note.as_deref().unwrap_or("underway"), now)?;
                let told = self.tell(id, News::Buffered, report.note.as_deref(), false, now);
                return self.written(told);
            }
        };
        let settlement = Settlement { reason: report.note.clone(), ..Settlement::new(state, actor) };
        let settled = self.store.settle(id, &settlement, now);
        if self.written(settled)? {
            let told = self.tell(id, news, report.note.as_deref(), true, now);
            self.written(told)?;
        }
        Ok(())
    }

    fn write_note(&mut self, id: MessageId, actor: &str, note: &str, now: Timestamp) -> Result<(), Refused> {
        let noted = self.store.note(id, actor, note, now);
        self.written(noted)
    }
}
