//! Which traces are kept.

use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Parent-based: who brings a context has decided. Without one a share of the traces is kept, and a batch that is linked
/// to a sampled context always, or the links from there would lead nowhere.
#[derive(Clone, Debug)]
pub struct Sampling(Sampler);

impl Sampling {
    /// `ratio`: the share of the traces that begin here, 0 to 1.
    pub fn new(ratio: f64) -> Self {
        Self(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let result = self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        let has_parent = parent.is_some_and(|parent| parent.span().span_context().is_valid());
        let linked = links.iter().any(|link| link.span_context.is_sampled());
        if linked && !has_parent {
            return SamplingResult { decision: SamplingDecision::RecordAndSample, ..result };
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::SpanContext;

    use super::*;
    use crate::trace::RemoteContext;

    fn remote(sampled: bool) -> SpanContext {
        let flags = if sampled { "01" } else { "00" };
        let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        RemoteContext::parse(&text).unwrap().context().clone()
    }

    fn is_kept(ratio: f64, parent: Option<SpanContext>, trace_id: u128, links: &[Link]) -> bool {
        let parent = parent.map(|parent| Context::new().with_remote_span_context(parent));
        let (kind, id) = (SpanKind::Server, TraceId::from(trace_id));
        let result = Sampling::new(ratio).should_sample(parent.as_ref(), id, "n", &kind, &[], links);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn a_clients_decision_is_obeyed_at_any_ratio() {
        for ratio in [0.0, 0.5, 1.0] {
            assert!(is_kept(ratio, Some(remote(true)), 1, &[]), "{ratio}");
            assert!(!is_kept(ratio, Some(remote(false)), 1, &[]), "{ratio}");
        }
    }

    #[test]
    fn of_the_others_a_share_is_kept() {
        let kept = |ratio| {
            let mut random = fastrand::Rng::with_seed(7);
            (0..20_000).filter(|_| is_kept(ratio, None, random.u128(1..), &[])).count()
        };
        assert_eq!((kept(0.0), kept(1.0)), (0, 20_000));
        assert!((1_800..=2_200).contains(&kept(0.1)), "{}", kept(0.1));
    }

    #[test]
    fn a_batch_is_kept_when_one_of_its_messages_is() {
        let links = |sampled| vec![Link::with_context(remote(false)), Link::with_context(remote(sampled))];
        assert!(is_kept(0.0, None, 1, &links(true)));
        assert!(!is_kept(0.0, None, 1, &links(false)));
        assert!(!is_kept(0.0, Some(remote(false)), 1, &links(true)), "a parent comes first");
    }
}
