package cairn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import cairn.Service.Bucket;
import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.hc.client5.http.SystemDefaultDnsResolver;
import org.junit.jupiter.api.Test;
import software.amazon.awssdk.core.checksums.RequestChecksumCalculation;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.http.apache5.Apache5HttpClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;

/** The bucket in the name of the host, which the SDK asks for by itself wherever the endpoint has a name and not only an address. */
class HostsTest {
    private static final String DOMAIN = System.getenv("CAIRN_TEST_DOMAIN");
    private static final URI OWN = URI.create(System.getenv("AWS_ENDPOINT_URL_S3"));
    private static final URI ENDPOINT = URI.create(OWN.getScheme() + "://" + DOMAIN + ":" + OWN.getPort());

    /** In place of a DNS that has the domain and all below it; notes what it is asked. */
    private static Apache5HttpClient.Builder resolving(Set<String> hosts) {
        return Apache5HttpClient.builder().dnsResolver(new SystemDefaultDnsResolver() {
            @Override
            public InetAddress[] resolve(String host) throws UnknownHostException {
                hosts.add(host);
                return InetAddress.getAllByName(OWN.getHost());
            }
        });
    }

    @Test
    void bucketsAreFoundByTheirHosts() {
        assumeTrue(DOMAIN != null, "the service has no domain");
        Set<String> hosts = new ConcurrentSkipListSet<>();
        try (S3Client byPath = S3Client.create();
                Bucket made = new Bucket(byPath);
                S3Client client = S3Client.builder().endpointOverride(ENDPOINT).httpClientBuilder(resolving(hosts)).build()) {
            String bucket = made.name;
            for (String key : new String[] {"plain", "a b+c%25/é 高山/🏔", "//double//", bucket + "/plain", "q?a=b&c#d"}) {
                String text = "bytes of " + key;
                client.putObject(put -> put.bucket(bucket).key(key), RequestBody.fromString(text));
                assertEquals(text, made.get(key));
                assertEquals(text, client.getObjectAsBytes(get -> get.bucket(bucket).key(key)).asUtf8String());
            }
            assertEquals(5, client.listObjectsV2(list -> list.bucket(bucket)).keyCount());
            Service.fails(NoSuchKeyException.class, 404, "NoSuchKey", () -> client.getObjectAsBytes(get -> get.bucket(bucket).key("none")));
            assertTrue(client.listBuckets().buckets().stream().anyMatch(one -> one.name().equals(bucket)));
            assertEquals(Set.of(bucket + "." + DOMAIN, DOMAIN), hosts);
            hosts.clear();
            try (S3Client inPath = S3Client.builder()
                    .endpointOverride(ENDPOINT)
                    .forcePathStyle(true)
                    .httpClientBuilder(resolving(hosts))
                    .build()) {
                assertEquals("bytes of plain", inPath.getObjectAsBytes(get -> get.bucket(bucket).key("plain")).asUtf8String());
            }
            assertEquals(Set.of(DOMAIN), hosts);
        }
    }

    /** One that is made, filled and removed without being named in a path at all. */
    @Test
    void bucketsAreMadeByTheirHosts() {
        assumeTrue(DOMAIN != null, "the service has no domain");
        Set<String> hosts = new ConcurrentSkipListSet<>();
        for (RequestChecksumCalculation mode : new RequestChecksumCalculation[] {
            RequestChecksumCalculation.WHEN_SUPPORTED, RequestChecksumCalculation.WHEN_REQUIRED
        }) {
            try (S3Client client = Service.clientOnce(builder -> {
                        Service.checksums(builder, mode);
                        builder.endpointOverride(ENDPOINT).httpClientBuilder(resolving(hosts));
                    });
                    Bucket made = new Bucket(client)) {
                made.put("one", "first");
                client.copyObject(copy -> copy.sourceBucket(made.name).sourceKey("one").destinationBucket(made.name).destinationKey("two"));
                assertEquals("first", made.get("two"));
                assertTrue(hosts.contains(made.name + "." + DOMAIN) && !hosts.contains(DOMAIN), () -> hosts.toString());
            }
        }
    }
}
