"""Fetches a URL as a browser would, knowing nothing of S3: `fetch.py URL FILE [CA]` writes the body to FILE and prints the status."""

import shutil
import ssl
import sys
import urllib.error
import urllib.request


def main(url, path, certificate_authority=None):
    context = ssl.create_default_context(cafile=certificate_authority) if certificate_authority else None
    try:
        answer = urllib.request.urlopen(url, context=context)
    except urllib.error.HTTPError as error:
        answer = error
    with answer, open(path, "wb") as file:
        shutil.copyfileobj(answer, file)
        print(answer.status)


main(*sys.argv[1:])
