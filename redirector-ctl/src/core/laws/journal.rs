//! Of what is written down, step by step: it leads to where the run has led.

use proptest::prelude::*;

use super::super::delta::Delta;
use super::super::spec::Spec;
use super::{World, step};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_down_of_each_step_leads_to_the_same_spec(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let (mut world, mut journal) = (World::default(), Spec::default());
        for step in &steps {
            let before = world.spec.clone();
            world.take(step);
            world.plan();
            let delta = Delta::between(&before, &world.spec);
            let line = serde_json::to_string(&delta).expect("a line");
            let delta: Delta = serde_json::from_str(&line).expect("what was written");
            delta.apply_to(&mut journal);
            prop_assert_eq!(&journal, &world.spec);
        }
    }
}
