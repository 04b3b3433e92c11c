//! What must hold: every metric as an optional field.

use std::fmt;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::repeat::DistributionSpec;
use super::window::{CountWindowSpec, ShareWindowSpec, TimeWindowSpec};
use crate::metric::{Kind, METRICS, Metric};
use crate::plan::Cause;
use crate::yaml::Span;
use crate::yaml::value::{Named, OR_NAMED, OneOrList, Spanned};

/// What must hold for a client. Times count from the fault.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpectSpec {
    /// Of it as a whole, in the metrics' order.
    pub metrics: Vec<ExpectedSpec>,
    /// Quantiles over all repetitions (`repeat`). The other expectations must hold in every single one.
    pub distribution: Option<Spanned<DistributionSpec>>,
    /// What must hold of one of its workloads alone, by the workload's name.
    pub workloads: Option<Spanned<Named<ExpectWorkloadSpec>>>,
    /// What must hold of the outage that one fault causes, by the fault's name.
    pub outages: Named<ExpectOutageSpec>,
}

/// What must hold of the outage that one fault causes to a client. Times count from that fault.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpectOutageSpec {
    /// In the metrics' order.
    pub metrics: Vec<ExpectedSpec>,
    /// What must hold of one of its workloads alone, by the workload's name.
    pub workloads: Option<Spanned<Named<ExpectWorkloadSpec>>>,
}

/// What must hold of one workload of a client. Times count from the fault.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpectWorkloadSpec {
    /// In the metrics' order.
    pub metrics: Vec<ExpectedSpec>,
}

/// What a metric must be.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedSpec {
    /// Which.
    pub metric: &'static Metric,
    /// Where that stood.
    pub span: Span,
    /// What it must be, if it could be read.
    pub window: Option<WindowSpec>,
}

/// A window, by the kind of its metric.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowSpec {
    /// Of time.
    Time(TimeWindowSpec),
    /// Of a number.
    Count(CountWindowSpec),
    /// Of a share of the whole.
    Share(ShareWindowSpec),
    /// Causes.
    Causes(OneOrList<Cause>),
    /// True or false.
    Fact(bool),
}

impl ExpectedSpec {
    /// Reads what stands at a metric's field; `None` where there is nothing.
    fn read<'de, A: MapAccess<'de>>(
        metric: &'static Metric,
        map: &mut A,
    ) -> Result<Option<Self>, A::Error> {
        fn field<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
            map: &mut A,
            window: fn(T) -> WindowSpec,
        ) -> Result<Option<(Span, Option<WindowSpec>)>, A::Error> {
            let found: Option<Spanned<T>> = map.next_value()?;
            Ok(found.map(|found| (found.span, found.value.map(window))))
        }
        let found = match metric.kind {
            Kind::Moment | Kind::Length => field(map, WindowSpec::Time)?,
            Kind::Count => field(map, WindowSpec::Count)?,
            Kind::Share => field(map, WindowSpec::Share)?,
            Kind::Cause => field(map, WindowSpec::Causes)?,
            Kind::Fact => field(map, WindowSpec::Fact)?,
        };
        Ok(found.map(|(span, window)| Self {
            metric,
            span,
            window,
        }))
    }

    /// The schema of a metric's field.
    fn schema(metric: &Metric, about: &str, generator: &mut SchemaGenerator) -> Schema {
        let mut schema = match metric.kind {
            Kind::Moment | Kind::Length => {
                generator.subschema_for::<Option<Spanned<TimeWindowSpec>>>()
            }
            Kind::Count => generator.subschema_for::<Option<Spanned<CountWindowSpec>>>(),
            Kind::Share => generator.subschema_for::<Option<Spanned<ShareWindowSpec>>>(),
            Kind::Cause => generator.subschema_for::<Option<Spanned<OneOrList<Cause>>>>(),
            Kind::Fact => generator.subschema_for::<Option<Spanned<bool>>>(),
        };
        schema.insert("description".to_owned(), about.into());
        schema
    }
}

/// Fields of [`ExpectSpec`].
pub(crate) static OF_CLIENT: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let metrics = METRICS.iter().map(|metric| metric.name);
    metrics.chain(["distribution", "workloads"]).collect()
});

/// Fields of [`ExpectOutageSpec`].
static OF_OUTAGE: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let metrics = METRICS.iter().filter(|metric| !metric.needs.whole_case);
    let metrics = metrics.map(|metric| metric.name);
    metrics.chain(["workloads"]).collect()
});

/// Fields of [`ExpectWorkloadSpec`].
static OF_WORKLOAD: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let metrics = METRICS.iter().filter(|metric| metric.workload.is_some());
    metrics.map(|metric| metric.name).collect()
});

/// What fields other than metrics a mapping has.
trait Rest<'de>: Default {
    fn metrics(&mut self) -> &mut Vec<ExpectedSpec>;

    fn other<A: MapAccess<'de>>(
        &mut self,
        field: Spanned<String>,
        map: &mut A,
    ) -> Result<(), A::Error>;
}

impl<'de> Rest<'de> for ExpectSpec {
    fn metrics(&mut self) -> &mut Vec<ExpectedSpec> {
        &mut self.metrics
    }

    fn other<A: MapAccess<'de>>(
        &mut self,
        field: Spanned<String>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match field.get().map(String::as_str) {
            Some("distribution") => self.distribution = map.next_value()?,
            Some("workloads") => self.workloads = map.next_value()?,
            Some(_) | None => self.outages.0.push((field, map.next_value()?)),
        }
        Ok(())
    }
}

impl<'de> Rest<'de> for ExpectOutageSpec {
    fn metrics(&mut self) -> &mut Vec<ExpectedSpec> {
        &mut self.metrics
    }

    fn other<A: MapAccess<'de>>(
        &mut self,
        _: Spanned<String>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        self.workloads = map.next_value()?;
        Ok(())
    }
}

impl<'de> Rest<'de> for ExpectWorkloadSpec {
    fn metrics(&mut self) -> &mut Vec<ExpectedSpec> {
        &mut self.metrics
    }

    fn other<A: MapAccess<'de>>(
        &mut self,
        _: Spanned<String>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        map.next_value::<serde::de::IgnoredAny>().map(drop)
    }
}

/// Takes a mapping from metrics.
struct Metrics<T>(T);

impl<'de, T: Rest<'de>> Visitor<'de> for Metrics<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from metrics")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
        while let Some(field) = map.next_key::<Spanned<String>>()? {
            match field.get().and_then(|name| crate::metric::named(name)) {
                Some(metric) => {
                    let found = ExpectedSpec::read(metric, &mut map)?;
                    self.0.metrics().extend(found);
                }
                None => self.0.other(field, &mut map)?,
            }
        }
        let place = |spec: &ExpectedSpec| METRICS.iter().position(|m| m == spec.metric);
        self.0.metrics().sort_by_key(place);
        Ok(self.0)
    }
}

impl<'de> Deserialize<'de> for ExpectSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(OR_NAMED, &OF_CLIENT, Metrics(Self::default()))
    }
}

impl<'de> Deserialize<'de> for ExpectOutageSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = Metrics(Self::default());
        deserializer.deserialize_struct("ExpectOutageSpec", &OF_OUTAGE, visitor)
    }
}

impl<'de> Deserialize<'de> for ExpectWorkloadSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = Metrics(Self::default());
        deserializer.deserialize_struct("ExpectWorkloadSpec", &OF_WORKLOAD, visitor)
    }
}

impl JsonSchema for ExpectSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExpectSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// The fields that are no metrics.
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its schema is asked for")]
        struct Others {
            /// Quantiles over all repetitions (`repeat`). The other expectations must hold in every single one.
            distribution: Option<Spanned<DistributionSpec>>,
            /// What must hold of one of its workloads alone, by the workload's name.
            workloads: Option<Spanned<Named<ExpectWorkloadSpec>>>,
        }
        let mut schema = Others::json_schema(generator);
        let about = "What must hold for a client. Times count from the first fault that struck it; what must hold of the \
                     outage that another fault causes stands under that fault's `name`.";
        schema.insert("description".to_owned(), about.into());
        let of_outage = generator.subschema_for::<Spanned<ExpectOutageSpec>>();
        schema.insert("additionalProperties".to_owned(), of_outage.into());
        for metric in METRICS {
            let field = ExpectedSpec::schema(metric, metric.client.about, generator);
            put(&mut schema, metric, field);
        }
        schema
    }
}

impl JsonSchema for ExpectOutageSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExpectOutageSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// The field that is no metric.
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its schema is asked for")]
        struct Others {
            /// What must hold of one of its workloads alone, by the workload's name.
            workloads: Option<Spanned<Named<ExpectWorkloadSpec>>>,
        }
        let mut schema = Others::json_schema(generator);
        let about =
            "What must hold of the outage that one fault causes. Times count from that fault.";
        schema.insert("description".to_owned(), about.into());
        for metric in METRICS.iter().filter(|metric| !metric.needs.whole_case) {
            let field = ExpectedSpec::schema(metric, metric.client.about, generator);
            put(&mut schema, metric, field);
        }
        schema
    }
}

impl JsonSchema for ExpectWorkloadSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExpectWorkloadSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({
            "description": "What must hold of one workload of a client. Times count from the fault.",
            "type": "object",
            "properties": {},
            "additionalProperties": false,
        });
        for metric in METRICS {
            if let Some(own) = &metric.workload {
                let field = ExpectedSpec::schema(metric, own.about, generator);
                put(&mut schema, metric, field);
            }
        }
        schema
    }
}

fn put(schema: &mut Schema, metric: &Metric, field: Schema) {
    let properties = schema.get_mut("properties").and_then(|p| p.as_object_mut());
    if let Some(properties) = properties {
        properties.insert(metric.name.to_owned(), field.into());
    }
}
