"""How the compact network's weights are made from VGG-19. Not a part of the package."""
