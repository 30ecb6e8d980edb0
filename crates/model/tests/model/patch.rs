//! Setting members of `log_data` from a plugin's text.

use sawpit_model::{Limits, PatchError, RawObject, RawObjectError};

use crate::limits;

fn patched(object: &str, patch: &str) -> String {
    let mut object = RawObject::parse(object, &Limits::default()).unwrap();
    object.patch(patch, &Limits::default()).unwrap();
    object.as_str().to_owned()
}

#[test]
fn new_members_are_added_at_the_end() {
    assert_eq!(patched("{}", "{}"), "{}");
    assert_eq!(patched("{}", r#"{"a":1}"#), r#"{"a":1}"#);
    assert_eq!(patched("{ }", r#"{"a":1}"#), r#"{ "a":1}"#);
    assert_eq!(patched(r#"{"a":1}"#, "{ }"), r#"{"a":1}"#);
    assert_eq!(patched(r#"{"z":1 }"#, r#"{ "y" : [2] , "x":{"a":3}}"#), r#"{"z":1 ,"y":[2],"x":{"a":3}}"#);
}

#[test]
fn members_of_the_same_name_are_replaced_in_place() {
    assert_eq!(patched(r#"{"a": 1, "b":2}"#, r#"{"a":"x"}"#), r#"{"a": "x", "b":2}"#);
    assert_eq!(
        patched(r#"{"a":1,"b":2,"c":3}"#, r#"{"c":[],"n":0,"a":{}}"#),
        r#"{"a":{},"b":2,"c":[],"n":0}"#
    );
    assert_eq!(patched(r#"{"\u0061":1}"#, r#"{"a":2}"#), r#"{"\u0061":2}"#);
    assert_eq!(patched(r#"{"a":1}"#, r#"{"\u0061":2}"#), r#"{"a":2}"#);
}

#[test]
fn nested_members_of_the_same_name_are_left_alone() {
    assert_eq!(
        patched(r#"{"x":{"a":1, "b" :[{"a":1}]}}"#, r#"{"a":2}"#),
        r#"{"x":{"a":1, "b" :[{"a":1}]},"a":2}"#
    );
    assert_eq!(patched(r#"{"a":{"b":1}}"#, r#"{"a":{"c":2}}"#), r#"{"a":{"c":2}}"#);
}

#[test]
fn of_duplicates_in_the_patch_the_last_wins() {
    assert_eq!(patched("{}", r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
}

#[test]
fn a_patch_is_not_trusted() {
    let broken = |patch: &str| {
        let mut object = RawObject::parse(r#"{"a":1}"#, &limits()).unwrap();
        let error = object.patch(patch, &limits()).unwrap_err();
        assert_eq!(object.as_str(), r#"{"a":1}"#, "{patch}");
        error
    };
    assert!(matches!(broken("{\"b\":1}, \"c\":{}"), PatchError::Patch(RawObjectError::Syntax(_))));
    assert!(matches!(broken(""), PatchError::Patch(RawObjectError::Syntax(_))));
    assert_eq!(broken("[1]"), PatchError::Patch(RawObjectError::NotAnObject { found: "an array" }));
    assert_eq!(broken(r#"{"b":"\u0000"}"#), PatchError::Patch(RawObjectError::Nul { at: 6 }));
    assert_eq!(broken(r#"{"b":1e999}"#), PatchError::Patch(RawObjectError::NumberRange { at: 5 }));
    assert_eq!(broken(r#"{"b":[[[[]]]]}"#), PatchError::Patch(RawObjectError::TooDeep { limit: 4 }));
}

#[test]
fn the_result_is_limited() {
    let filled = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    let mut object = RawObject::parse(&filled(34), &limits()).unwrap();
    let before = object.clone();
    let too_long = Err(PatchError::TooLong { bytes: 41, limit: 40 });
    assert_eq!(object.patch(r#"{"b":10}"#, &limits()), too_long);
    assert_eq!(object, before);
    assert_eq!(object.patch(r#"{"b":1}"#, &limits()), Ok(()));
    assert_eq!(object.as_str().len(), 40);
    // Replacing may shorten what an addition lengthens.
    assert_eq!(object.patch(r#"{"a":0,"c":"xxxxxxxxxx"}"#, &limits()), Ok(()));
    assert_eq!(object.as_str(), r#"{"a":0,"b":1,"c":"xxxxxxxxxx"}"#);
}
