//! Metrics that end with what they are of. A recorder of Prometheus never forgets a series; what comes and goes by the
//! hundred, as versions of a plugin do, has a recorder of its own, which is dropped some time after it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusRecorder;

use crate::catalog;

/// How long the metrics of what is gone are shown, so that its last counts are scraped and seen.
const KEEP: Duration = Duration::from_secs(600);
/// Most recorders of what is gone; beyond that those go that are gone for longest.
const KEPT: usize = 100;

/// The recorders, by what they are of.
#[derive(Clone, Default)]
pub(crate) struct Scopes(Arc<Mutex<BTreeMap<String, Scope>>>);

struct Scope {
    recorder: Arc<PrometheusRecorder>,
    /// Since when nobody else has the recorder.
    gone: Option<Instant>,
}

impl Scopes {
    /// The recorder of `of`: the one that it had before, where that is still here.
    pub fn open(
        &self,
        of: &str,
        now: Instant,
        make: impl FnOnce() -> PrometheusRecorder,
    ) -> Arc<PrometheusRecorder> {
        let mut scopes = self.lock();
        prune(&mut scopes, now);
        let scope =
            scopes.entry(of.to_owned()).or_insert_with(|| Scope { recorder: Arc::new(make()), gone: None });
        scope.gone = None;
        Arc::clone(&scope.recorder)
    }

    /// Folds samples into buckets, and drops what has been gone long enough.
    pub fn upkeep(&self, now: Instant) {
        let mut scopes = self.lock();
        prune(&mut scopes, now);
        scopes.values().for_each(|scope| scope.recorder.handle().run_upkeep());
    }

    /// `text` and the metrics of all scopes as one page, each metric's series together.
    pub fn add_to(&self, text: String) -> String {
        let pages: Vec<_> = self.lock().values().map(|scope| scope.recorder.handle().render()).collect();
        if pages.is_empty() { text } else { merge(&[vec![text], pages].concat()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Scope>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn prune(scopes: &mut BTreeMap<String, Scope>, now: Instant) {
    for scope in scopes.values_mut().filter(|scope| Arc::strong_count(&scope.recorder) == 1) {
        scope.gone.get_or_insert(now);
    }
    let mut gone: Vec<_> = scopes.values().filter_map(|scope| scope.gone).collect();
    gone.sort_unstable();
    let over = gone.len().checked_sub(KEPT + 1).and_then(|at| gone.get(at).copied());
    let is_over = |since: Instant| now.duration_since(since) > KEEP || over.is_some_and(|over| since <= over);
    scopes.retain(|_, scope| !scope.gone.is_some_and(is_over));
}

/// A metric on a page.
#[derive(Default)]
struct Family<'a> {
    kind: &'a str,
    series: Vec<&'a str>,
}

/// Pages of Prometheus's text format as one: a metric may stand in it once.
fn merge(pages: &[String]) -> String {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    for page in pages {
        let mut name = "";
        for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with("# HELP ")) {
            match line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
                Some((of, kind)) => {
                    name = of;
                    families.entry(name).or_default().kind = kind;
                }
                None => families.entry(name).or_default().series.push(line),
            }
        }
    }
    families.iter().map(|(name, family)| block(name, family)).collect()
}

fn block(name: &str, family: &Family<'_>) -> String {
    let help = catalog::help(name).map(|help| format!("# HELP {name} {help}\n")).unwrap_or_default();
    format!("{help}# TYPE {name} {}\n{}\n\n", family.kind, family.series.join("\n"))
}

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn open(scopes: &Scopes, of: &str, now: Instant) -> Arc<PrometheusRecorder> {
        scopes.open(of, now, || PrometheusBuilder::new().build_recorder())
    }

    fn count(recorder: &Arc<PrometheusRecorder>, version: &str) {
        let labels = [("plugin", "p".to_owned()), ("version", version.to_owned())];
        with_local_recorder(recorder.as_ref(), || {
            metrics::counter!("sawpit_plugin_calls_total", &labels).increment(1);
        });
    }

    #[test]
    fn a_metric_stands_once_on_the_page_with_the_series_of_all() {
        let (scopes, now) = (Scopes::default(), Instant::now());
        let (one, two) = (open(&scopes, "p@1", now), open(&scopes, "p@2", now));
        [(&one, "1"), (&two, "2"), (&two, "2")]
            .iter()
            .for_each(|(recorder, version)| count(recorder, version));
        let own = "# TYPE sawpit_other gauge\nsawpit_other 7\n\n".to_owned();
        let calls = "# HELP sawpit_plugin_calls_total Calls\n# TYPE sawpit_plugin_calls_total counter\n\
            sawpit_plugin_calls_total{plugin=\"p\",version=\"1\"} 1\n\
            sawpit_plugin_calls_total{plugin=\"p\",version=\"2\"} 2\n\n";
        assert_eq!(scopes.add_to(own.clone()), format!("{own}{calls}"));
        assert_eq!(Scopes::default().add_to(own.clone()), own);
    }

    #[test]
    fn what_is_gone_is_shown_for_a_while_and_goes_on_where_it_comes_back() {
        let (scopes, start) = (Scopes::default(), Instant::now());
        count(&open(&scopes, "p@1", start), "1");
        scopes.upkeep(start);
        scopes.upkeep(start + KEEP);
        count(&open(&scopes, "p@1", start + KEEP), "1");
        assert!(scopes.add_to(String::new()).contains("version=\"1\"} 2"));
        scopes.upkeep(start + KEEP);
        scopes.upkeep(start + KEEP * 2);
        assert!(!scopes.add_to(String::new()).is_empty());
        scopes.upkeep(start + KEEP * 2 + Duration::from_secs(1));
        assert_eq!(scopes.add_to(String::new()), "");
    }

    #[test]
    fn a_thousand_that_are_gone_leave_a_hundred_and_what_is_held_stays() {
        let (scopes, start) = (Scopes::default(), Instant::now());
        let held = open(&scopes, "held", start);
        for number in 0..1_000_u32 {
            let now = start + Duration::from_millis(number.into());
            drop(open(&scopes, &format!("p@{number}"), now));
        }
        scopes.upkeep(start + Duration::from_secs(1));
        let left: Vec<_> = scopes.lock().keys().cloned().collect();
        assert_eq!(left.len(), KEPT + 1);
        assert!(left.contains(&"held".to_owned()) && left.contains(&"p@999".to_owned()), "{left:?}");
        drop(held);
    }
}
