//! A kernel's version.

/// Major and minor version in a kernel's release (`uname -r`); `None` if it does not begin with two numbers.
#[must_use]
pub fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_shapes_are_compared_by_number() {
        assert_eq!(kernel_version("6.18.44-cloud-amd64"), Some((6, 18)));
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("7.3-rc1"), Some((7, 3)));
        assert_eq!(kernel_version("6.18+"), Some((6, 18)));
        assert_eq!(kernel_version("linux"), None);
        assert!(Some((6, 5)) < Some((6, 15)));
    }
}
