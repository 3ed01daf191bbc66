//! The check of `fapo.yaml` and the scorer itself are two crates that do not know each other: what the first passes, the
//! second must take.

use fapo_domain::problem::Severity;
use fapo_project::read_project;
use fapo_scoring::Scorer;
use serde_json::{Map, Value, json};

const METRICS: [&str; 14] = [
    "exact_match",
    "normalized_exact_match",
    "f1",
    "contains",
    "regex",
    "numeric",
    "choice",
    "json_field",
    "json_schema",
    "set_precision",
    "set_recall",
    "set_f1",
    "all_gold",
    "python",
];

/// A row of choices, the same in every run (a multiplicative congruential generator, Lehmer 1951 with Park and Miller's
/// constants).
struct Dice(u64);

impl Dice {
    fn roll<T: Clone>(&mut self, sides: &[T]) -> T {
        self.0 = self.0 * 48_271 % 2_147_483_647;
        sides[(self.0 / 7 % sides.len() as u64) as usize].clone()
    }

    /// Options, most of them right; an absent one is null.
    fn options(&mut self) -> Map<String, Value> {
        let table = [
            ("expected", json!(["answer"]), json!([null])),
            ("pattern", json!(["Answer: (.*)", null]), json!(["(a"])),
            (
                "choices",
                json!([["A", "B"], null]),
                json!([["yes", "Yes "], ["A", " "]]),
            ),
            ("field", json!(["a.b", "a.0"]), json!(["a. .b", null])),
            (
                "schema",
                json!([{"type": "object"}]),
                json!([{"type": "objekt"}, null]),
            ),
            (
                "from",
                json!([null, "s.text", "s.json.a.b", "*.docs.title", "s"]),
                json!(["*.json", "s.docs"]),
            ),
            (
                "file",
                json!(["scorers/own.py", null]),
                json!(["pipeline/own.py", "scorers/../own.py"]),
            ),
            ("tolerance", json!([null, 0.5, 0]), json!([-1])),
            ("ignore_case", json!([null, true, false]), json!([null])),
        ];
        let mut options = Map::new();
        for (key, right, wrong) in table {
            let sides = if self.roll(&[true, false, false, false, false, false, false, false]) {
                wrong
            } else {
                right
            };
            let value = self.roll(sides.as_array().unwrap());
            if !value.is_null() {
                options.insert(key.to_owned(), value);
            }
        }
        options
    }

    /// A metric with options and perhaps a name.
    fn metric(&mut self) -> Map<String, Value> {
        let mut metric = if self.roll(&[true, false]) {
            self.options()
        } else {
            Map::new()
        };
        metric.insert("metric".to_owned(), json!(self.roll(&METRICS)));
        let name = self.roll(&[None, None, Some("own"), Some("other"), Some("weighted")]);
        if let Some(name) = name {
            metric.insert("name".to_owned(), json!(name));
        }
        metric
    }

    fn scorer(&mut self) -> Value {
        let mut scorer = self.options();
        if self.roll(&[true, true, false]) {
            scorer.insert("metric".to_owned(), json!(self.roll(&METRICS)));
        } else {
            let mut parts = Vec::new();
            for _ in 0..self.roll(&[1, 2]) {
                let mut part = self.metric();
                part.insert(
                    "weight".to_owned(),
                    self.roll(&[json!(1), json!(0.5), json!(2), json!(0)]),
                );
                parts.push(part);
            }
            scorer.insert("weighted".to_owned(), json!(parts));
        }
        let also = match self.roll(&[0, 1, 2]) {
            0 => json!([]),
            1 => json!([self.roll(&METRICS)]),
            _ => json!([self.metric()]),
        };
        scorer.insert("also".to_owned(), also);
        Value::Object(scorer)
    }
}

#[test]
fn a_scorer_that_the_check_passes_can_be_compiled() {
    let mut dice = Dice(20_240_229);
    let mut passed = 0;
    let code = [("scorers/own.py".to_owned(), String::new())].into();
    for _ in 0..600 {
        let scorer = dice.scorer();
        let maximize = dice.roll(&[json!(null), json!(null), json!("own"), json!("weighted")]);
        let project = json!({
            "name": "a",
            "models": {"task": {"provider": "sim", "model": "m", "world": "w.json"}},
            "data": {"train": "t.jsonl"},
            "scorer": scorer,
            "objective": {"maximize": maximize},
        });
        // JSON is YAML
        let (spec, problems) = read_project("fapo.yaml", &project.to_string());
        if problems
            .iter()
            .any(|found| found.severity == Severity::Error)
        {
            continue;
        }
        let spec = spec.unwrap();
        if let Err(refused) = Scorer::compile(&spec.scorer, &spec.objective, &code) {
            panic!("the check passes what the scorer refuses: {refused:?}\n{scorer:#}");
        }
        passed += 1;
    }
    assert!(
        passed > 40,
        "only {passed} of 600 are right: nothing is tried"
    );
}
