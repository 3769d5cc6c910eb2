#!/bin/bash
set -e
cat > /etc/kubernetes/manifests/kube-vip.yaml << EOF
apiVersion: v1
kind: Pod
metadata:
  name: kube-vip
EOF
