package cairn;

import static cairn.Service.MEDIUM_BYTES;
import static cairn.Service.MIB;
import static cairn.Service.clientOnce;
import static cairn.Service.fails;
import static cairn.Service.same;
import static cairn.Service.someBytes;
import static org.junit.jupiter.api.Assertions.assertEquals;

import cairn.Service.Bucket;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import software.amazon.awssdk.core.ResponseBytes;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.checksums.RequestChecksumCalculation;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.CompletedPart;
import software.amazon.awssdk.services.s3.model.GetObjectResponse;
import software.amazon.awssdk.services.s3.model.NoSuchUploadException;
import software.amazon.awssdk.services.s3.model.Part;
import software.amazon.awssdk.services.s3.model.S3Object;
import software.amazon.awssdk.transfer.s3.S3TransferManager;

/** Large objects in parts, by the transfer manager and by hand, and a tree of files. */
class TransfersTest {
    @TempDir
    Path scratch;

    private static void isOfParts(S3Client client, String bucket, String key) {
        // 8 MiB a part is the default.
        var head = client.headObject(r -> r.bucket(bucket).key(key).partNumber(1));
        assertEquals((MEDIUM_BYTES + 8 * MIB - 1) / (8 * MIB), head.partsCount());
        assertEquals(8 * MIB, head.contentLength());
        assertEquals(List.of(), client.listMultipartUploads(r -> r.bucket(bucket)).uploads());
    }

    @Test
    void theTransferManagerMovesAFile() throws IOException {
        try (S3Client client = S3Client.create(); Bucket made = new Bucket(client)) {
            String bucket = made.name;
            Path film = scratch.resolve("film.mp4");
            Path back = scratch.resolve("back.mp4");
            byte[] body = someBytes(MEDIUM_BYTES);
            Files.write(film, body);
            S3AsyncClient parts = Service.asynchronous(builder -> {});
            // page: transfer
            try (S3TransferManager transfers = S3TransferManager.builder().s3Client(parts).build()) {
                transfers.uploadFile(up -> up.source(film).putObjectRequest(put -> put.bucket(bucket).key("film.mp4")))
                        .completionFuture().join();
                transfers.downloadFile(down -> down.destination(back).getObjectRequest(get -> get.bucket(bucket).key("film.mp4")))
                        .completionFuture().join();
                transfers.copy(copy -> copy.copyObjectRequest(object -> object.sourceBucket(bucket).sourceKey("film.mp4")
                                .destinationBucket(bucket).destinationKey("copy.mp4")))
                        .completionFuture().join();
            }
            // page end
            parts.close();
            same(body, Files.readAllBytes(back));
            isOfParts(client, bucket, "film.mp4");
            same(body, client.getObjectAsBytes(r -> r.bucket(bucket).key("copy.mp4")).asByteArray());
        }
    }

    @ParameterizedTest
    @EnumSource(RequestChecksumCalculation.class)
    void theClientInPartsMovesWhatIsInMemoryAndWhatIsAStream(RequestChecksumCalculation mode) {
        try (S3Client client = S3Client.create(); Bucket made = new Bucket(client);
                S3AsyncClient parts = Service.asynchronous(builder -> Service.checksums(builder, mode))) {
            String bucket = made.name;
            byte[] body = someBytes(MEDIUM_BYTES);
            parts.putObject(r -> r.bucket(bucket).key("bytes"), AsyncRequestBody.fromBytes(body)).join();
            isOfParts(client, bucket, "bytes");
            ResponseBytes<GetObjectResponse> back =
                    parts.getObject(r -> r.bucket(bucket).key("bytes"), AsyncResponseTransformer.toBytes()).join();
            same(body, back.asByteArray());

            ExecutorService reader = Executors.newSingleThreadExecutor();
            var stream = AsyncRequestBody.fromInputStream(c -> c.inputStream(new ByteArrayInputStream(body)).executor(reader));
            parts.putObject(r -> r.bucket(bucket).key("stream"), stream).join();
            reader.shutdown();
            isOfParts(client, bucket, "stream");
            same(body, client.getObjectAsBytes(r -> r.bucket(bucket).key("stream")).asByteArray());
        }
    }

    @Test
    void uploadsByHand() {
        try (S3Client client = clientOnce(); Bucket made = new Bucket(client)) {
            String bucket = made.name;
            String upload = client.createMultipartUpload(r -> r.bucket(bucket).key("by hand")).uploadId();
            List<byte[]> bodies = List.of(someBytes(5 * MIB), someBytes(5 * MIB + 1), someBytes(7));
            List<CompletedPart> parts = new ArrayList<>();
            for (int number = 1; number <= bodies.size(); number++) {
                parts.add(send(client, bucket, upload, number, bodies.get(number - 1)));
            }
            List<Part> listed = client.listPartsPaginator(r -> r.bucket(bucket).key("by hand").uploadId(upload).maxParts(2)).parts()
                    .stream().toList();
            assertEquals(List.of(1, 2, 3), listed.stream().map(Part::partNumber).toList());
            assertEquals(bodies.stream().map(b -> (long) b.length).toList(), listed.stream().map(Part::size).toList());
            fails(400, "InvalidPartOrder", () -> complete(client, bucket, upload, List.of(parts.get(1), parts.get(0))));
            complete(client, bucket, upload, parts);
            byte[] back = client.getObjectAsBytes(r -> r.bucket(bucket).key("by hand")).asByteArray();
            assertEquals(10 * MIB + 8, back.length);
            same(bodies.get(2), Arrays.copyOfRange(back, 10 * MIB + 1, back.length));

            String small = client.createMultipartUpload(r -> r.bucket(bucket).key("by hand")).uploadId();
            List<CompletedPart> tooSmall =
                    List.of(send(client, bucket, small, 1, new byte[] {1}), send(client, bucket, small, 2, new byte[] {2}));
            fails(400, "EntityTooSmall", () -> complete(client, bucket, small, tooSmall));
            var uploads = client.listMultipartUploadsPaginator(r -> r.bucket(bucket)).uploads().stream().toList();
            assertEquals(List.of(small), uploads.stream().map(u -> u.uploadId()).toList());
            client.abortMultipartUpload(r -> r.bucket(bucket).key("by hand").uploadId(small));
            fails(NoSuchUploadException.class, 404, "NoSuchUpload", () -> client.listParts(r -> r.bucket(bucket).key("by hand").uploadId(small)));
        }
    }

    private static CompletedPart send(S3Client client, String bucket, String upload, int number, byte[] body) {
        var sent = client.uploadPart(r -> r.bucket(bucket).key("by hand").uploadId(upload).partNumber(number), RequestBody.fromBytes(body));
        return CompletedPart.builder().partNumber(number).eTag(sent.eTag()).checksumCRC32(sent.checksumCRC32()).build();
    }

    private static void complete(S3Client client, String bucket, String upload, List<CompletedPart> parts) {
        client.completeMultipartUpload(r -> r.bucket(bucket).key("by hand").uploadId(upload).multipartUpload(m -> m.parts(parts)));
    }

    /** The tree is the caller's, and so is the comparison of what comes back. */
    @Test
    void aTreeGoesUpAndComesBack() throws IOException {
        Path from = Path.of(System.getenv("CAIRN_TEST_TREE"));
        Path to = Path.of(System.getenv("CAIRN_TEST_BACK"));
        try (S3Client client = S3Client.create(); Bucket bucket = new Bucket(client);
                S3AsyncClient parts = Service.asynchronous(builder -> {});
                S3TransferManager transfers = S3TransferManager.builder().s3Client(parts).build()) {
            var up = transfers.uploadDirectory(r -> r.bucket(bucket.name).source(from)).completionFuture().join();
            assertEquals(List.of(), up.failedTransfers());
            long files;
            try (Stream<Path> found = Files.walk(from)) {
                files = found.filter(Files::isRegularFile).count();
            }
            List<String> listed =
                    client.listObjectsV2Paginator(r -> r.bucket(bucket.name)).contents().stream().map(S3Object::key).toList();
            assertEquals(files, listed.size());
            var down = transfers.downloadDirectory(r -> r.bucket(bucket.name).destination(to)).completionFuture().join();
            assertEquals(List.of(), down.failedTransfers());
        }
    }
}
