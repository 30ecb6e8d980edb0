//! Rebuilds the crate when a migration file is added: `migrate!` only sees those that it was compiled with.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
