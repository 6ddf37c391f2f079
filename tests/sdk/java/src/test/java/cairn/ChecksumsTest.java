package cairn;

import static cairn.Service.MIB;
import static cairn.Service.clientOnce;
import static cairn.Service.fails;
import static cairn.Service.same;
import static cairn.Service.someBytes;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import cairn.Service.Bucket;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import software.amazon.awssdk.core.checksums.RequestChecksumCalculation;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.ChecksumAlgorithm;
import software.amazon.awssdk.services.s3.model.ChecksumMode;
import software.amazon.awssdk.services.s3.model.ChecksumType;
import software.amazon.awssdk.services.s3.model.CompletedPart;
import software.amazon.awssdk.services.s3.model.HeadObjectResponse;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;

/** Every algorithm of checksums in every mode of sending them. */
class ChecksumsTest {
    /** The check value of each algorithm: its checksum of this body, as the catalogues of checksums give it. */
    private static final String CHECKED = "123456789";

    private static final Map<ChecksumAlgorithm, String> CHECK_VALUES = Map.of(
            ChecksumAlgorithm.CRC32, "y/Q5Jg==",
            ChecksumAlgorithm.CRC32_C, "4waSgw==",
            ChecksumAlgorithm.CRC64_NVME, "rosUhgp5mIg=",
            ChecksumAlgorithm.SHA1, "98O8HYCOBHMq32eZZczDTKeuNEE=",
            ChecksumAlgorithm.SHA256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");

    private static S3Client client(RequestChecksumCalculation mode) {
        return clientOnce(builder -> Service.checksums(builder, mode));
    }

    static Stream<Arguments> modesAndAlgorithms() {
        return Stream.of(RequestChecksumCalculation.values())
                .flatMap(mode -> CHECK_VALUES.keySet().stream().sorted().map(algorithm -> Arguments.of(mode, algorithm)));
    }

    private static Map<String, String> checksums(HeadObjectResponse head) {
        Map<String, String> found = new TreeMap<>();
        put(found, ChecksumAlgorithm.CRC32, head.checksumCRC32());
        put(found, ChecksumAlgorithm.CRC32_C, head.checksumCRC32C());
        put(found, ChecksumAlgorithm.CRC64_NVME, head.checksumCRC64NVME());
        put(found, ChecksumAlgorithm.SHA1, head.checksumSHA1());
        put(found, ChecksumAlgorithm.SHA256, head.checksumSHA256());
        return found;
    }

    private static void put(Map<String, String> found, ChecksumAlgorithm algorithm, String value) {
        if (value != null) {
            found.put(algorithm.toString(), value);
        }
    }

    /** Holds the service to having this checksum, and no other. */
    private static void isStored(S3Client client, Bucket bucket, ChecksumAlgorithm algorithm) {
        // Where the client asks for checksums, as it does by default, it verifies the body by what the service has stored.
        assertEquals(CHECKED, bucket.get("key"));
        var head = client.headObject(r -> r.bucket(bucket.name).key("key").checksumMode(ChecksumMode.ENABLED));
        assertEquals(Map.of(algorithm.toString(), CHECK_VALUES.get(algorithm)), checksums(head));
    }

    @ParameterizedTest
    @MethodSource("modesAndAlgorithms")
    void aChecksumIsComputedSentStoredAndVerified(RequestChecksumCalculation mode, ChecksumAlgorithm algorithm) {
        try (S3Client client = client(mode); Bucket bucket = new Bucket(client)) {
            bucket.put("key", CHECKED, r -> r.checksumAlgorithm(algorithm));
            isStored(client, bucket, algorithm);
            byte[] bytes = CHECKED.getBytes(StandardCharsets.US_ASCII);
            client.putObject(r -> r.bucket(bucket.name).key("key").checksumAlgorithm(algorithm),
                    RequestBody.fromContentProvider(() -> new ByteArrayInputStream(bytes), "text/plain"));
            isStored(client, bucket, algorithm);
        }
    }

    @ParameterizedTest
    @EnumSource(RequestChecksumCalculation.class)
    void aWrongOneIsRefused(RequestChecksumCalculation mode) {
        try (S3Client client = client(mode); Bucket bucket = new Bucket(client)) {
            String wrong = CHECK_VALUES.get(ChecksumAlgorithm.CRC32);
            fails(400, "BadDigest", () -> bucket.put("wrong", "other", r -> r.checksumCRC32(wrong)));
            assertThrows(NoSuchKeyException.class, () -> client.headObject(r -> r.bucket(bucket.name).key("wrong")));
        }
    }

    @Test
    void theDefaultStoresCrc32AndWhenRequiredTheServiceComputesItsOwn() {
        try (S3Client client = clientOnce(); Bucket bucket = new Bucket(client)) {
            bucket.put("key", CHECKED);
            isStored(client, bucket, ChecksumAlgorithm.CRC32);
        }
        try (S3Client client = client(RequestChecksumCalculation.WHEN_REQUIRED); Bucket bucket = new Bucket(client)) {
            bucket.put("key", CHECKED);
            isStored(client, bucket, ChecksumAlgorithm.CRC64_NVME);
        }
    }

    static Stream<Arguments> algorithmsAndTypes() {
        return Stream.of(
                Arguments.of(ChecksumAlgorithm.CRC32, ChecksumType.COMPOSITE),
                Arguments.of(ChecksumAlgorithm.CRC32, ChecksumType.FULL_OBJECT),
                Arguments.of(ChecksumAlgorithm.CRC32_C, ChecksumType.COMPOSITE),
                Arguments.of(ChecksumAlgorithm.CRC32_C, ChecksumType.FULL_OBJECT),
                Arguments.of(ChecksumAlgorithm.CRC64_NVME, ChecksumType.FULL_OBJECT),
                Arguments.of(ChecksumAlgorithm.SHA1, ChecksumType.COMPOSITE),
                Arguments.of(ChecksumAlgorithm.SHA256, ChecksumType.COMPOSITE));
    }

    @ParameterizedTest
    @MethodSource("algorithmsAndTypes")
    void ofParts(ChecksumAlgorithm algorithm, ChecksumType type) {
        try (S3Client client = clientOnce(); Bucket made = new Bucket(client)) {
            String bucket = made.name;
            byte[] whole = someBytes(5 * MIB + 100);
            String upload = client.createMultipartUpload(r -> r.bucket(bucket).key("key").checksumAlgorithm(algorithm).checksumType(type))
                    .uploadId();
            List<CompletedPart> parts = new ArrayList<>();
            int[] borders = {0, 5 * MIB, whole.length};
            for (int number = 1; number <= 2; number++) {
                int part = number;
                byte[] body = Arrays.copyOfRange(whole, borders[part - 1], borders[part]);
                var sent = client.uploadPart(
                        r -> r.bucket(bucket).key("key").uploadId(upload).partNumber(part).checksumAlgorithm(algorithm),
                        RequestBody.fromBytes(body));
                parts.add(CompletedPart.builder().partNumber(part).eTag(sent.eTag()).checksumCRC32(sent.checksumCRC32())
                        .checksumCRC32C(sent.checksumCRC32C()).checksumCRC64NVME(sent.checksumCRC64NVME())
                        .checksumSHA1(sent.checksumSHA1()).checksumSHA256(sent.checksumSHA256()).build());
            }
            client.completeMultipartUpload(r -> r.bucket(bucket).key("key").uploadId(upload).checksumType(type)
                    .multipartUpload(m -> m.parts(parts)));
            var head = client.headObject(r -> r.bucket(bucket).key("key").checksumMode(ChecksumMode.ENABLED));
            assertEquals(type, head.checksumType());
            String value = checksums(head).get(algorithm.toString());
            assertEquals(type == ChecksumType.COMPOSITE, value.endsWith("-2"));
            if (type == ChecksumType.FULL_OBJECT) {
                // The same bytes in one piece have the same checksum.
                client.putObject(r -> r.bucket(bucket).key("in one piece").checksumAlgorithm(algorithm), RequestBody.fromBytes(whole));
                var one = client.headObject(r -> r.bucket(bucket).key("in one piece").checksumMode(ChecksumMode.ENABLED));
                assertEquals(checksums(one).get(algorithm.toString()), value);
            }
            same(whole, client.getObjectAsBytes(r -> r.bucket(bucket).key("key")).asByteArray());
        }
    }
}
