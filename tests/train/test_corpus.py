from email.message import Message

import pytest

from labkit.train import corpus


def metadata(**headers: str) -> Message:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "Apache-2.0 OR BSD-2-Clause",
        "Apache-2.0 AND CNRI-Python",
        "GPL-2.0-only OR MIT",
        "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND (BSD-3-Clause)",
        "License :: OSI Approved :: BSD License",
        "BSD 3-Clause License",
        "Apache 2.0 License",
        "The MIT License (MIT)",
    ],
)
def test_permissive_licences_pass(licence):
    assert corpus.is_permissive(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "UNKNOWN",
        "MPL-2.0",
        "MPL-2.0 AND MIT",
        "MIT AND GPL-3.0-or-later",
        "BSD-3-Clause AND LGPL-2.1-only",
        "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
        "License :: OSI Approved :: MIT License; License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
        "License :: Other/Proprietary License",
        "MIT-like, with GPL parts",
        "Proprietary",
    ],
)
def test_other_and_unknown_licences_do_not(licence):
    assert not corpus.is_permissive(licence)


def test_the_spdx_expression_comes_before_classifier_and_text():
    stated = metadata(License_Expression="MIT", Classifier="License :: OSI Approved :: BSD License", License="GPL")
    assert corpus.licence_of(stated) == "MIT"
    assert corpus.licence_of(metadata(License="\n BSD 3-Clause License\nCopyright …")) == "BSD 3-Clause License"
    assert corpus.licence_of(metadata()) == ""


def test_a_package_that_is_missing_or_not_permissive_is_left_out():
    # hypothesis is MPL-2.0, and installed wherever these tests run.
    names = [source.name for source in corpus.sources(("hypothesis", "no-such-package-here", "numpy"))]
    assert names == [corpus.STANDARD_LIBRARY, "numpy"]


def test_the_split_is_by_content_hash_and_disjoint(tmp_path):
    files = []
    for number in range(400):
        path = tmp_path / f"f{number}.py"
        path.write_text(
            "".join(
                f"def function_{chr(97 + number % 26)}{'x' * 20}_{'y' * (number // 26)}{'z' * i}(): pass\n"
                for i in range(9)
            )
        )
        files.append((path.name, path))
    copy = tmp_path / "copy.py"
    copy.write_text(files[0][1].read_text())
    found = list(corpus.documents([corpus.Source("some", "1", "MIT", (*files, ("copy.py", copy)))]))
    assert len(found) == 400  # the copy is there once
    held = {document.digest for document in found if corpus.is_held_out(document.digest)}
    assert 0 < len(held) < 20
    # Where a file lies and what lies beside it changes nothing.
    alone = list(corpus.documents([corpus.Source("other", "2", "MIT", tuple(files[:50]))]))
    assert {d.digest for d in alone if corpus.is_held_out(d.digest)} == held & {d.digest for d in alone}
    assert all(corpus.is_held_out(digest) == (int(digest, 16) % 100 == 0) for digest in held)


def test_tables_and_files_of_odd_length_are_left_out():
    assert corpus.is_code("value = compute(argument)\n" * 30)
    assert not corpus.is_code("value = compute(argument)\n")
    assert not corpus.is_code("value = compute(argument)\n" * 10_000)
    assert not corpus.is_code("1234, 5678, 9012,\n" * 100)
