//! (under construction)
use sawpit_plugin::{Edit, Fields, Log, NoConfig, Plugin, Rewrite, export};
pub struct Clean;
impl Plugin for Clean {
    const NAME: &'static str = "transform";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str = "Redacts personal data and secrets, folds repeats";
    const READS: Fields = Fields::all();
    type Config = NoConfig;
    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }
}
impl Rewrite for Clean {
    fn rewrite(&self, log: &Log<'_>, edit: &mut Edit<'_>) -> Result<(), String> {
        if log.message().contains('@') {
            edit.message(log.message().replace('@', "[at]"));
        }
        Ok(())
    }
}
export!(Clean: transform);
