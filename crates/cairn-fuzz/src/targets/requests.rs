//! Requests of S3: what anybody who reaches the service can send.

use cairn_s3::fuzz;

use crate::{Memory, Part, Target};

pub(super) const TARGETS: &[Target] = &[
    Target {
        name: "authorization",
        parts: &[
            Part {
                name: "authorization_header",
                run: fuzz::fuzz_authorization_header,
                seeds: authorization,
                memory: Memory::PerByte(256),
            },
            Part { name: "presigned_query", run: fuzz::fuzz_presigned_query, seeds: presigned, memory: Memory::PerByte(256) },
        ],
        cost: 1,
    },
    Target {
        name: "aws_chunked",
        parts: &[Part { name: "aws_chunked", run: fuzz::fuzz_aws_chunked, seeds: chunked, memory: Memory::PerByte(1024) }],
        cost: 1,
    },
    Target {
        name: "xml",
        parts: &[Part { name: "xml_bodies", run: fuzz::fuzz_xml_bodies, seeds: xml, memory: Memory::PerByte(1024) }],
        cost: 1,
    },
    Target {
        name: "form",
        parts: &[
            Part { name: "form", run: fuzz::fuzz_form, seeds: forms, memory: Memory::PerByte(256) },
            Part { name: "policy", run: fuzz::fuzz_policy, seeds: policies, memory: Memory::PerByte(1024) },
        ],
        cost: 1,
    },
    Target {
        name: "headers",
        parts: &[
            Part { name: "tagging_header", run: fuzz::fuzz_tagging_header, seeds: tagging_headers, memory: Memory::PerByte(256) },
            Part { name: "range_header", run: fuzz::fuzz_range_header, seeds: ranges, memory: Memory::PerByte(64) },
            Part { name: "copy_source", run: fuzz::fuzz_copy_source, seeds: copy_sources, memory: Memory::PerByte(64) },
            Part { name: "target", run: fuzz::fuzz_target, seeds: paths, memory: Memory::PerByte(64) },
        ],
        cost: 1,
    },
];

const SIGNATURE: &str = "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024";

fn owned(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn authorization() -> Vec<Vec<u8>> {
    let scope = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
    let headers = "host;range;x-amz-content-sha256;x-amz-date";
    owned(&[
        &format!("AWS4-HMAC-SHA256 Credential={scope},SignedHeaders={headers},Signature={SIGNATURE}"),
        &format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={SIGNATURE}"),
        "AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=",
    ])
}

fn presigned() -> Vec<Vec<u8>> {
    owned(&[
        &format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature={SIGNATURE}"
        ),
        "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1175139620&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D",
        "list-type=2&prefix=a%2Fb&delimiter=/&encoding-type=url&start-after=%F0%9F%8F%94",
    ])
}

fn chunked() -> Vec<Vec<u8>> {
    let body =
        |flags: u8, length: u16, piece: u8, text: &str| [&[flags][..], &length.to_le_bytes(), &[piece], text.as_bytes()].concat();
    vec![
        body(0, 5, 1, "5\r\nhello\r\n0\r\n\r\n"),
        body(2, 5, 3, "5\r\nhello\r\n0\r\nx-amz-checksum-crc32c:mnG7TA==\r\n\r\n"),
        body(1, 5, 7, &format!("5;chunk-signature={SIGNATURE}\r\nhello\r\n0;chunk-signature={SIGNATURE}\r\n\r\n")),
        body(
            3,
            5,
            0,
            &format!(
                "5;chunk-signature={SIGNATURE}\r\nhello\r\n0;chunk-signature={SIGNATURE}\r\nx-amz-checksum-sha1:qvTGHdzF6KLavt4PO0gs2a6pQ00=\r\n\
                 x-amz-trailer-signature:{SIGNATURE}\r\n\r\n"
            ),
        ),
    ]
}

fn xml() -> Vec<Vec<u8>> {
    owned(&[
        "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a</Key><VersionId>null</VersionId></Object>\
         <Object><Key>b&amp;&#x1F3D4;<![CDATA[<c>]]></Key></Object><Quiet>true</Quiet></Delete>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><CompleteMultipartUpload><Part><PartNumber>1</PartNumber>\
         <ETag>\"d41d8cd98f00b204e9800998ecf8427e\"</ETag><ChecksumCRC32C>mnG7TA==</ChecksumCRC32C></Part><Part><PartNumber>2</PartNumber>\
         <ETag>d41d8cd98f00b204e9800998ecf8427e</ETag></Part></CompleteMultipartUpload>",
        "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>",
        "<CreateBucketConfiguration><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>",
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>FALSE</IgnorePublicAcls>\
         </PublicAccessBlockConfiguration>",
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        "<Tagging><TagSet><Tag><Key>a b</Key><Value>c</Value></Tag><Tag><Key>d</Key><Value></Value></Tag></TagSet></Tagging>",
        "<CORSConfiguration><CORSRule><ID>x</ID><AllowedOrigin>https://*.example</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>\
         <AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>3000</MaxAgeSeconds></CORSRule></CORSConfiguration>",
    ])
}

fn forms() -> Vec<Vec<u8>> {
    let form = |piece: u8, text: &str| [&[piece][..], text.as_bytes()].concat();
    vec![
        form(
            7,
            "multipart/form-data; boundary=xYz\n--xYz\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na/${filename}\r\n--xYz\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"b%22c.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--xY\r\n--xYz--\r\n",
        ),
        form(
            1,
            "multipart/form-data; boundary=\"-\"\n---\r\ncontent-disposition:form-data;name=file\r\n\r\n\r\n---\r\n\
             Content-Disposition: form-data; name=\"late\"\r\n\r\n\r\n-----",
        ),
    ]
}

fn policies() -> Vec<Vec<u8>> {
    owned(&[
        "{\"expiration\": \"2026-01-01T00:00:00.000Z\", \"conditions\": [{\"bucket\": \"b\"}, [\"starts-with\", \"$key\", \"user/\"], \
         [\"eq\", \"$acl\", \"private\"], [\"content-length-range\", 1, 10485760]]}",
        "{\"expiration\": \"2026-01-01T00:00:00Z\", \"conditions\": []}",
    ])
}

fn tagging_headers() -> Vec<Vec<u8>> {
    owned(&["a=b&c=d", "cost%20centre=7%2B1&team", "a=%C3%A9+x"])
}

fn ranges() -> Vec<Vec<u8>> {
    ["bytes=0-", "bytes=0-9", "bytes=-5", "bytes=5-4", "bytes=0-1,3-4", "bytes=18446744073709551615-"]
        .map(|text| [&100_u64.to_be_bytes()[..], text.as_bytes()].concat())
        .to_vec()
}

fn copy_sources() -> Vec<Vec<u8>> {
    owned(&["/bucket/key", "bucket/a%2Fb%20c?versionId=null", "arn:aws:s3:::bucket/key", "bucket/%F0%9F%8F%94+%2B"])
}

fn paths() -> Vec<Vec<u8>> {
    owned(&[
        "localhost:9000\n/bucket/a//b/%2F/../c",
        "bucket.s3.example\n/%F0%9F%8F%94+%2B",
        "s3.example\n/",
        "b.s3.example:443\n/",
    ])
}
