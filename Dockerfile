# docker build --build-arg VERSION=$(git describe --tags --always) -t vipd .
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY pkg pkg
COPY internal internal
ARG TARGETOS=linux TARGETARCH=amd64 VERSION=unknown
# The same command as in the Makefile, for the same bytes.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -buildvcs=false -trimpath \
    -ldflags "-s -w -X github.com/vipd-io/vipd/internal/version.version=$VERSION" -o /vipd ./cmd/vipd

# Nothing but the binary: no shell, no libraries.
FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title="vipd" \
      org.opencontainers.image.description="Keeps a virtual IP address on one node of a Kubernetes control plane" \
      org.opencontainers.image.source="https://github.com/vipd-io/vipd" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /vipd /vipd
COPY LICENSE /LICENSE
# In a pod a user other than 0 gets none of the capabilities that the container
# is given. The pod drops all but NET_ADMIN and NET_RAW.
USER 0:0
ENTRYPOINT ["/vipd"]
CMD ["run"]
