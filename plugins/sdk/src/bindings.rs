//! What wit-bindgen makes of `wit/`.
//!
//! One small world for each export instead of one for each combination: a plugin describes the worlds of
//! its stages in custom sections, and the tool that turns the module into a component joins them.
#![allow(warnings, clippy::all, reason = "generated code")]

/// What every plugin has: description, configuration and the imports.
pub mod base {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "sawpit:plugin/base",
        pub_export_macro: true,
        export_macro_name: "export_base",
        default_bindings_module: "sawpit_plugin::bindings::base",
    });
}

/// The export of a plugin that filters.
pub mod filter {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package sawpit:sdk; world only-filter { export sawpit:plugin/filter@0.1.0; }",
        world: "sawpit:sdk/only-filter",
        with: { "sawpit:plugin/types@0.1.0": crate::bindings::base::sawpit::plugin::types },
        pub_export_macro: true,
        export_macro_name: "export_filter",
        default_bindings_module: "sawpit_plugin::bindings::filter",
    });
}

/// The export of a plugin that enriches.
pub mod enrich {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package sawpit:sdk; world only-enrich { export sawpit:plugin/enrich@0.1.0; }",
        world: "sawpit:sdk/only-enrich",
        with: { "sawpit:plugin/types@0.1.0": crate::bindings::base::sawpit::plugin::types },
        pub_export_macro: true,
        export_macro_name: "export_enrich",
        default_bindings_module: "sawpit_plugin::bindings::enrich",
    });
}

/// The export of a plugin that transforms.
pub mod transform {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package sawpit:sdk; world only-transform { export sawpit:plugin/transform@0.1.0; }",
        world: "sawpit:sdk/only-transform",
        with: { "sawpit:plugin/types@0.1.0": crate::bindings::base::sawpit::plugin::types },
        pub_export_macro: true,
        export_macro_name: "export_transform",
        default_bindings_module: "sawpit_plugin::bindings::transform",
    });
}

/// The wire types, under short names.
pub mod wire {
    pub use super::base::sawpit::plugin::types::{Batch, Column, Description, Fields, Level, RowError};
    pub use super::enrich::exports::sawpit::plugin::enrich::Patches;
    pub use super::filter::exports::sawpit::plugin::filter::{Verdict, Verdicts};
    pub use super::transform::exports::sawpit::plugin::transform::{
        Changes, Drop, Edits, LevelEdit, Merge, Outcome,
    };
}
